import ArgumentParser
import Codecs
import Evaluation
import Execution
import Glibc
import Kernels
import Pipeline
import SafeIO

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure a model's speed.",
    discussion: """
      Tests as in llama-bench: pp is a prompt processed at once, tg tokens generated one after another, d tokens in the \
      cache before. Lists are separated by commas; 0 leaves a test out. One repetition before is not counted.
      """)

  @Argument(help: "The model; may be left out with --kernels.") var model: String?
  @Flag(help: "Measure the kernels alone, against the processor's own peak.") var kernels = false
  @Option(name: .customShort("p"), help: ArgumentHelp("Prompt tokens.", valueName: "list")) var prompts =
    CountList([512])
  @Option(name: .customShort("n"), help: ArgumentHelp("Generated tokens.", valueName: "list")) var generated =
    CountList([128])
  @Option(name: .customShort("d"), help: ArgumentHelp("Tokens in the cache before.", valueName: "list"))
  var depths = CountList([0])
  @Option(name: .customShort("r"), help: ArgumentHelp("Repetitions.", valueName: "count")) var repetitions:
    Int = 5
  @Option(name: .customShort("o"), help: ArgumentHelp("md, json or csv.", valueName: "format")) var format:
    Format = .md
  @Flag(
    help:
      "Measure what each graph pass and each part of the layout is worth: with all, without each, without any."
  )
  var ablate = false
  @Option(
    name: .customLong("against-cache"),
    help: ArgumentHelp(
      """
      A cache to compare with the model's (--kv-cache), in turn within this process, a few tokens at a time; may be given \
      again.
      """, valueName: "type"))
  var others: [CacheType] = []
  @Flag(help: .hidden) var summary = false
  @OptionGroup var inference: InferenceArguments

  enum Format: String, ExpressibleByArgument, CaseIterable { case md, json, csv }

  func validate() throws {
    guard repetitions > 0 else { throw ValidationError("-r is more than 0.") }
    guard !ablate || others.isEmpty else { throw ValidationError("--ablate or --against-cache.") }
    guard model != nil || kernels else { throw ValidationError("Give a MODEL, or --kernels.") }
  }

  func run() throws {
    if kernels { try measureKernels() }
    guard let model else { return }
    if summary { return try printSummary(model) }
    if ablate { return try measureAblation(model) }
    if !others.isEmpty { return try compareCaches(model) }
    try measureModel(try inference.load(model))
  }

  private func measureKernels() throws {
    let pool = inference.execution.pool()
    let benchmark = KernelBenchmark(table: try inference.execution.kernels(), threadCount: pool.threadCount)
    var table = TextTable(
      ["kernel", "shape", "encoding", "threads", "GOP/s", "GB/s", "of float32 peak"],
      alignments: [.leading, .leading, .leading])
    for row in benchmark.run() {
      table.addRow([
        row.operation, row.shape, row.encoding, "\(row.threadCount)",
        NumberFormat.fixed(row.gigaoperationsPerSecond, 1),
        NumberFormat.fixed(row.gigabytesPerSecond, 1), NumberFormat.fixed(row.shareOfPeak * 100, 0) + " %",
      ])
    }
    Console.note(
      "float32 peak \(NumberFormat.fixed(benchmark.peak, 0)) GFLOP/s on \(pool.threadCount) threads")
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
    try measureCodecs(threadCount: pool.threadCount)
  }

  private func measureCodecs(threadCount: Int) throws {
    let benchmark = try CodecBenchmark(threadCount: threadCount)
    var table = TextTable(
      ["codec", "bits/weight", "threads", "encode GB/s", "with search GB/s", "decode GB/s"],
      alignments: [.leading])
    func text(_ rate: Double?) -> String { rate.map { NumberFormat.fixed($0, 3) } ?? "-" }
    for row in benchmark.run() {
      table.addRow([
        row.codec, NumberFormat.fixed(row.bitsPerWeight, 3), "\(threadCount)", text(row.encodingExtremes),
        text(row.encodingSearched), text(row.decoding),
      ])
    }
    Console.note("codecs: rates are of the weights as bfloat16")
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
  }

  private func measureModel(_ model: LanguageModel) throws {
    let bench = ModelBenchmark(model: model, pool: inference.execution.pool())
    var results: [SpeedMeasurement] = []
    let bar = ProgressBar("bench")
    let tests = depths.values.flatMap { depth in
      prompts.values.filter { $0 > 0 }.map { (depth, $0, 0) }
        + generated.values.filter { $0 > 0 }.map { (depth, 0, $0) }
    }
    for (index, (depth, prompt, count)) in tests.enumerated() {
      try bar.update(Double(index) / Double(tests.count))
      results.append(
        try bench.measure(prompt: prompt, generated: count, depth: depth, repetitions: repetitions))
    }
    Console.finishProgress()
    try printResults(results, model, threads: bench.pool.threadCount)
  }

  private func printResults(_ results: [SpeedMeasurement], _ model: LanguageModel, threads: Int) throws {
    let size = model.source.fileByteCount
    let isa = model.program.options.kernels.instructionSet.rawValue
    let cache = model.program.cache.format
    let cacheText = "\(cache)" + (model.program.options.cachePolicy.map { ", \($0)" } ?? "")
    if format == .json {
      return try Console.print(
        .array(
          results.map { result in
            var object = result.json
            object["model_filename"] = .string(model.source.path)
            object["model_size"] = JSONValue(size)
            object["n_threads"] = JSONValue(threads)
            object["isa"] = .string(isa)
            object["type_k"] = .string(cache.keys.rawValue)
            object["type_v"] = .string(cache.values.rawValue)
            object["kv_policy"] = .string(inference.policy.name)
            object["bits_per_weight"] = .number(model.bitsPerWeight)
            return .object(object)
          }))
    }
    var table = TextTable(
      ["model", "size", "bits/weight", "isa", "threads", "cache", "test", "t/s"],
      alignments: [.leading])
    for result in results {
      table.addRow([
        FileReading.fileName(model.source.path), NumberFormat.bytes(size),
        NumberFormat.fixed(model.bitsPerWeight, 3),
        isa, "\(threads)", "\(cacheText), \(NumberFormat.bytes(result.cacheByteCount))", result.testName,
        "\(NumberFormat.fixed(result.mean, 2)) ± \(NumberFormat.fixed(result.standardDeviation, 2))",
      ])
    }
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
  }

  /// For `compare`: load and first token timed from here, then one prompt and one generation; peak memory of this process.
  private func printSummary(_ path: String) throws {
    let start = ContinuousClock.now
    let model = try inference.load(path)
    let pool = inference.execution.pool()
    let first = try TextGenerator(model: model, pool: pool).generate(
      prompt: [model.source.beginOfSequence ?? 0], count: 1, sampling: .greedy
    ) { _ in true }
    let timeToFirstToken = ContinuousClock.now - start
    guard !first.tokens.isEmpty || first.endedByModel else { throw ExitCode(70) }
    let bench = ModelBenchmark(model: model, pool: pool)
    let prefill = try bench.measure(prompt: 512, generated: 0, depth: 0, repetitions: 3)
    let decode = try bench.measure(prompt: 0, generated: 128, depth: 0, repetitions: 3)
    try Console.print(
      JSONValue.object([
        "prefill_ts": .number(prefill.median), "decode_ts": .number(decode.median),
        "ttft_ms": .number(timeToFirstToken / .milliseconds(1)), "peak_bytes": JSONValue(PeakMemory.bytes),
      ]).serialized())
  }
}

/// Numbers separated by commas.
struct CountList: ExpressibleByArgument, CustomStringConvertible {
  let values: [Int]

  init(_ values: [Int]) { self.values = values }

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
    let values = parts.compactMap { Int($0) }
    guard values.count == parts.count, !values.isEmpty, values.allSatisfy({ (0...1 << 20).contains($0) })
    else { return nil }
    self.values = values
  }

  var description: String { values.map(String.init).joined(separator: ",") }
  var defaultValueDescription: String { description }
}

/// The most memory that this process has held since it began to run this program: what `getrusage` reports would
/// include the process that started it.
enum PeakMemory {
  static var bytes: Int {
    let descriptor = unsafe open("/proc/self/status", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return 0 }
    defer { close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    let count = unsafe read(descriptor, &buffer, buffer.count)
    let lines = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self).split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix("VmHWM:") }) else { return 0 }
    return (line.split(whereSeparator: { " \t".contains($0) }).dropFirst().first.flatMap { Int($0) } ?? 0)
      * 1024
  }
}
