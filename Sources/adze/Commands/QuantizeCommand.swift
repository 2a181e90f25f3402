import ArgumentParser
import Calibration
import Codecs
import Evaluation
import Pipeline
import Quantization
import SafeIO
import TensorCore

struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize", abstract: "Quantize a checkpoint's linear layers.",
    discussion: """
      A method chooses the values, a codec says how they become bits, a container where the bits lie.

        adze quantize MODEL -o OUT --method gptq --codec int4 --group-size 128 --corpus TEXT
        adze quantize MODEL -o OUT.adze --method rtn --codec int8 --group-size -1 --asym

      Methods:
      \(MethodRegistry.entries.map { entry in
        "  \(entry.name): \(entry.summary)\n" + entry.options.map { "    \($0.name) (\($0.defaultValue)): \($0.summary)" }.joined(separator: "\n")
      }.joined(separator: "\n"))
      Codecs:
      \(CodecRegistry.entries.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))
      Schemes (--scheme instead of codec, group size and symmetry):
      \(CodecScheme.all.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))
      Containers:
      \(ModelContainers.entries.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))

      Embedding and head stay in their own type unless --target names them. Calibration reads text block by block \
      through the model as it is being quantized; the result is the same for any number of threads.
      """)

  @Argument(help: "The checkpoint.") var model: String
  @Option(name: [.short, .long], help: "Directory, or .adze or .gguf file, to write.") var output: String?
  @Option(help: "How values are chosen: rtn or gptq.") var method: String = "gptq"
  @Option(
    help: "Codec by the name of a common scheme: \(CodecScheme.all.map(\.name).joined(separator: ", ")).")
  var scheme: String?
  @Option(help: "How values become bits: int2 to int8 (default: int4).") var codec: String?
  @Option(parsing: .unconditional, help: "Columns that share a scale; -1: the whole row (default: 128).")
  var groupSize: Int?
  @Flag(exclusivity: .exclusive, help: "Fixed zero point (sym, the default), or one per group (asym).")
  var symmetry: Symmetry?
  @Option(help: "Type of scales: f16, bf16 or f32 (default: f16; GGML's types have their own).")
  var scaleType: String?
  @OptionGroup var corpus: CorpusArguments
  @Option(
    help: "Statistics from 'adze calibrate', or an importance matrix of llama.cpp, instead of a corpus.")
  var statistics: String?
  @OptionGroup(title: "Method Options") var methodArguments: MethodArguments
  @Option(
    help:
      "Regular expression on weight names to quantize, instead of all linear layers in blocks; may be repeated."
  )
  var target: [String] = []
  @Option(help: "Regular expression on weight names to leave alone; may be repeated.") var ignore: [String] =
    []
  @Option(
    help:
      "Where the bits go: \(ModelContainers.entries.map(\.name).joined(separator: ", ")); from the output's name unless given."
  )
  var container: String?
  @Flag(
    help:
      "Keep finished layers in OUTPUT.journal, and go on from those that an interrupted run with --resume left there."
  )
  var resume = false
  @Option(help: "Most memory to plan for, such as 900MiB or 8GiB.") var maxMemory: ByteCount?
  @Option(help: "Share of layers that may fall back to rounding before it is an error.") var maxFallback:
    Double = 0.01
  @Flag(help: "Show the plan, and do nothing.") var dryRun = false
  @Option(help: "Write a JSON report with a row for each layer.") var report: String?
  @OptionGroup var execution: ExecutionArguments

  enum Symmetry: String, EnumerableFlag { case sym, asym }

  func validate() throws {
    guard output != nil || dryRun else { throw ValidationError("Give --output, or --dry-run.") }
    guard corpus.corpus.isEmpty || statistics == nil else {
      throw ValidationError("--corpus and --statistics exclude each other.")
    }
    guard scheme == nil || (codec == nil && groupSize == nil && symmetry == nil) else {
      throw ValidationError("--scheme says codec, group size and symmetry; leave those options out.")
    }
    guard (0...1).contains(maxFallback) else {
      throw ValidationError("--max-fallback is a share from 0 to 1.")
    }
  }

  func run() throws {
    let recipe = try makeRecipe()
    let need = try recipe.method().need
    let source = try ModelFormats.load(model)
    for warning in source.warnings { Console.warn(warning) }
    let plan = try QuantizationPlan(recipe: recipe, graph: source.graph, weights: source.requireCheckpoint())
    let target = try ModelContainers.container(named: container, output: output ?? "")
    try target.check(plan, codec: recipe.codec)
    if let output { try target.checkOutput(output, source: source) }
    let calibration = try calibrationSource(need, source)
    try checkMemory(plan, source, calibration, need)
    guard !dryRun, let output else { return try show(plan) }

    let bar = ProgressBar("quantize")
    let stage = try QuantizationStage(
      model: source, recipe: recipe, pool: execution.pool(), kernels: execution.kernels())
    let journal = try openJournal(output, stage, calibration)
    let result = try stage.run(calibration: calibration, journal: journal) {
      try bar.update($0.fraction, $0.what)
    }
    try target.write(result, to: output)
    journal?.remove()
    if let report {
      try AtomicFile.write(Array((result.reportJSON.serialized(pretty: true) + "\n").utf8), to: report)
    }
    bar.finish()
    try summarize(result, output)
  }

  private func openJournal(
    _ output: String, _ stage: QuantizationStage, _ calibration: CalibrationSource
  ) throws -> QuantizationJournal? {
    guard resume else { return nil }
    let journal = try stage.journal(at: QuantizationJournal.path(forOutput: output), calibration: calibration)
    if journal.finishedCount > 0 {
      Console.note("going on after \(journal.finishedCount) layers that an earlier run finished")
    }
    return journal
  }

  private func makeRecipe() throws -> QuantizationRecipe {
    let scale = scaleType.flatMap { ElementType(rawValue: $0.uppercased()) }
    guard scaleType == nil || scale != nil else {
      throw ValidationError("--scale-type is f16, bf16 or f32.")
    }
    let codec =
      if let scheme {
        try CodecScheme.codec(named: scheme)
      } else {
        try CodecRegistry.codec(
          spelled: codec ?? "int4",
          CodecParameters(groupSize: groupSize, isSymmetric: symmetry.map { $0 == .sym }, scaleType: scale))
      }
    return QuantizationRecipe(
      methodName: method, methodOptions: methodArguments.values, codec: codec, targets: target,
      ignored: ignore,
      maximumFallbackShare: maxFallback)
  }

  private func calibrationSource(_ need: StatisticsNeed, _ source: LoadedModel) throws -> CalibrationSource {
    if need == .none {
      if !corpus.corpus.isEmpty || statistics != nil {
        Console.warn("\(method) with these options needs no calibration")
      }
      return .none
    }
    if let statistics {
      let file = try CalibrationFiles.read(statistics, for: source)
      let digest = try source.weightsDigest()
      guard file.modelDigest == digest else {
        throw PipelineError.foreignStatistics(path: statistics, expected: digest, found: file.modelDigest)
      }
      return .statistics(file, digest: Checksum.sha256(try MappedFile.open(statistics)).hexadecimal)
    }
    if corpus.corpus.isEmpty {
      guard need != .hessian else {
        throw ValidationError(
          "--method \(method) needs calibration: give --corpus FILE or --statistics FILE.")
      }
      return .none
    }
    return .windows(try corpus.windows(for: source))
  }

  private func checkMemory(
    _ plan: QuantizationPlan, _ source: LoadedModel, _ calibration: CalibrationSource, _ need: StatisticsNeed
  ) throws {
    guard let maxMemory else { return }
    var tokens = 0
    if case .windows(let windows) = calibration { tokens = windows.tokenCount }
    let needed = plan.memoryEstimate(
      graph: source.graph, calibrationTokens: tokens, needsSecondMoment: need == .hessian)
    guard needed <= maxMemory.value else {
      throw PipelineError.memoryLimit(needed: needed, allowed: maxMemory.value)
    }
  }

  private func show(_ plan: QuantizationPlan) throws {
    var table = TextTable(
      ["weight", "shape", "now", "then", "bytes now", "bytes then"],
      alignments: [.leading, .leading, .leading, .leading])
    for entry in plan.entries {
      table.addRow([
        entry.name, entry.shape.description, entry.source, entry.target,
        NumberFormat.grouped(Double(entry.sourceByteCount)),
        NumberFormat.grouped(Double(entry.targetByteCount)),
      ])
    }
    try Console.print(table.plain)
    try Console.print(
      "\(plan.selected.count) of \(plan.entries.count) weights, \(NumberFormat.fixed(plan.bitsPerWeight, 3)) bits per weight, "
        + "\(NumberFormat.bytes(plan.sourceByteCount)) to \(NumberFormat.bytes(plan.targetByteCount))")
  }

  private func summarize(_ result: QuantizedModel, _ output: String) throws {
    let reports = result.reports
    let error = reports.reduce(0) { $0 + $1.relativeError } / Double(max(reports.count, 1))
    let rounding = reports.reduce(0) { $0 + $1.roundingRelativeError } / Double(max(reports.count, 1))
    var line =
      "\(output): \(reports.count) layers as \(result.recipe.codec.canonicalName), "
      + "\(NumberFormat.fixed(result.bitsPerWeight, 3)) bits per weight, mean relative output error "
      + NumberFormat.significant(error, 3)
    if result.calibration != nil { line += " (rounding: \(NumberFormat.significant(rounding, 3)))" }
    try Console.print(line)
    let retries = reports.count { $0.dampingRetryCount > 0 }
    let fallen = reports.count { $0.fallback != nil }
    let dead = reports.reduce(0) { $0 + $1.deadColumnCount }
    if retries + fallen + dead > 0 {
      Console.warn(
        "\(retries) layers needed more damping, \(fallen) fell back to rounding, \(dead) inputs never fired")
    }
  }
}
