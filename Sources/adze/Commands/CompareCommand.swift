import ArgumentParser
import Codecs
import Evaluation
import Execution
import Kernels
import Pipeline
import SafeIO

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Measure what models lost against a base, and what they gained.",
    discussion: """
      All models read the same windows side by side; the distance is the mean Kullback-Leibler divergence of their \
      next-token distributions from the base's. Speed is measured for each model in a process of its own.

        adze compare bf16-model int8.adze int4.adze --corpus TEXT --report report.html
      """)

  @Argument(help: "The base, usually the model before quantization.") var base: String
  @Argument(help: "The models to compare with it.") var models: [String]
  @OptionGroup var text: WindowArguments
  @Flag(help: "Do not measure speed.") var noSpeed = false
  @Option(help: "Write a page with tables and charts.") var report: String?
  @Flag(help: "Print one JSON array, the base first.") var json = false
  @OptionGroup var inference: InferenceArguments

  func run() throws {
    // What the cache costs belongs to the models, not to what they are compared with.
    let loaded = try [inference.load(base, isBase: true)] + models.map { try inference.load($0) }
    let windows = try text.windows(for: loaded[0].source)
    let pool = inference.execution.pool()
    let candidates = loaded.map { model in
      ComparisonEvaluation.Candidate(
        name: model.source.path, runner: Session(program: model.program, pool: pool))
    }
    let bar = ProgressBar("compare")
    let result = try ComparisonEvaluation.run(
      base: candidates[0], models: Array(candidates.dropFirst()), windows: windows,
      scheduler: RowScheduler(pool)
    ) { try bar.update(Double($0.windowsDone) / Double($0.windowCount)) }
    bar.finish("\(windows.count) windows of \(windows.length) tokens")
    var measurements = [measurement(loaded[0], result.base, nil)]
    for (model, report) in zip(loaded.dropFirst(), result.models) {
      measurements.append(measurement(model, report.perplexity, report.divergence))
    }
    if !noSpeed { try measureSpeed(&measurements, pool: pool) }
    if let report { try write(measurements, windows, to: report) }
    guard !json else { return try Console.print(.array(measurements.map(\.json))) }
    try Console.print(ModelMeasurement.table(measurements).plain)
  }

  private func measurement(
    _ model: LanguageModel, _ perplexity: PerplexityResult, _ divergence: DivergenceResult?
  ) -> ModelMeasurement {
    ModelMeasurement(
      name: model.source.path, fileByteCount: model.source.fileByteCount, bitsPerWeight: model.bitsPerWeight,
      perplexity: perplexity, divergence: divergence)
  }

  private func measureSpeed(_ measurements: inout [ModelMeasurement], pool: ThreadPool) throws {
    for (index, path) in ([base] + models).enumerated() {
      try Interruption.check()
      let arguments =
        ["bench", path, "--summary", "-t", String(pool.threadCount), "--isa", inference.execution.isa]
        + ["--activations", "\(inference.activations)"]
        + (inference.simulateActivations ? ["--simulate-activations"] : [])
        + (index > 0 ? inference.cache.arguments + inference.policy.arguments : ["--kv-cache", "f16"])
      let summary = try JSONValue.parse(ChildProcess.output(arguments: arguments), file: "bench")
      measurements[index].speed = ModelMeasurement.Speed(
        prefill: summary["prefill_ts"]?.doubleValue ?? 0, decode: summary["decode_ts"]?.doubleValue ?? 0,
        peakByteCount: summary["peak_bytes"]?.intValue, timeToFirstToken: summary["ttft_ms"]?.doubleValue)
    }
  }

  private func write(_ measurements: [ModelMeasurement], _ windows: EvaluationWindows, to path: String) throws
  {
    let command = ["adze", "compare", base] + models + ["--corpus", text.corpus, "-c", String(text.window)]
    let page = ComparisonReport(
      title: "What it cost against \(FileReading.fileName(base))",
      base: measurements[0], models: Array(measurements.dropFirst()),
      facts: [
        .init("text", text.corpus),
        .init("windows", "\(windows.count) of \(windows.length) tokens"),
        .init("predictions", NumberFormat.grouped(Double(windows.predictionCount))),
        .init("activations of quantized layers", "\(inference.activations)"),
        .init("entries that full caches keep", inference.policy.name),
        .init(
          "cache of the models, f16 for the base",
          inference.cache.format?.description ?? "what each says, else f16"),
        .init("threads", "\(inference.execution.pool().threadCount)"),
        .init("adze", AdzeVersion.current),
      ],
      commands: [command.joined(separator: " ")],
      digests: [.init(text.corpus, Checksum.sha256(try MappedFile.open(text.corpus)).hexadecimal)]
    ).html
    try AtomicFile.write(Array(page.utf8), to: path)
  }
}
