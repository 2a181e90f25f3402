import ArgumentParser
import Calibration
import Codecs
import Evaluation
import Kernels
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
        adze quantize MODEL -o OUT.gguf --scheme Q4_K_M --corpus TEXT
        adze quantize MODEL -o OUT --recipe RECIPE.yaml --corpus TEXT --dry-run

      Methods:
      \(MethodRegistry.entries.map { entry in
        "  \(entry.name): \(entry.summary)\n" + entry.options.map { "    \($0.name) (\($0.defaultValue)): \($0.summary)" }.joined(separator: "\n")
      }.joined(separator: "\n"))
        learned-rounding: gradient descent on rounding and scales after another method, block by block
      \(LearnedRounding.options.map { "    \($0.name) (\($0.defaultValue)): \($0.summary)" }.joined(separator: "\n"))
      Transforms (--transform, before weights are quantized; the float model computes the same):
      \(WeightTransforms.entries.map { entry in
        "  \(entry.name): \(entry.summary)\n" + entry.options.map { "    \($0.name) (\($0.defaultValue)): \($0.summary)" }.joined(separator: "\n")
      }.joined(separator: "\n"))
      Codecs:
      \(CodecRegistry.entries.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))
      Presets (--scheme instead of codec, group size and symmetry):
      \(QuantizationPreset.all.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))
      Activation schemes (--activation-scheme):
        none: inputs stay as they are
      \(ActivationScheme.all.dropFirst().map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))
      Containers:
      \(ModelContainers.entries.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))

      Embedding and head stay in their own type unless --target names them. Calibration reads text block by block \
      through the model as it is being quantized; the result is the same for any number of threads.
      """)

  @Argument(help: "The checkpoint.") var model: String
  @Option(name: [.short, .long], help: "Directory, or .adze or .gguf file, to write.") var output: String?
  @Option(help: "A YAML document of ordered stages, instead of method, scheme, codec and targets.")
  var recipe: String?
  @Option(
    help:
      "How values are chosen: \(MethodRegistry.entries.map(\.name).joined(separator: ", ")), or awq: its transform, then rtn (default: gptq); 'gptq,learned-rounding' learns block by block from there."
  )
  var method: String?
  @Option(
    name: [.long, .customLong("preset")],
    help: "Codecs by the name that people call them, such as W4A16, NVFP4A16 or Q4_K_M.")
  var scheme: String?
  @Option(help: "How values become bits: int2 to int8 (default: int4).") var codec: String?
  @Option(parsing: .unconditional, help: "Columns that share a scale; -1: the whole row (default: 128).")
  var groupSize: Int?
  @Flag(exclusivity: .exclusive, help: "Fixed zero point (sym, the default), or one per group (asym).")
  var symmetry: Symmetry?
  @Option(help: "Type of scales: f16, bf16 or f32 (default: f16; GGML's types have their own).")
  var scaleType: String?
  @OptionGroup(title: "Activations") var activationArguments: ActivationArguments
  @OptionGroup(title: "Cache") var cache: CacheArguments
  @OptionGroup(title: "Cache") var cacheObserver: CacheObserverArguments
  @Option(
    help:
      "A rewrite before weights are quantized: \(WeightTransforms.names.joined(separator: ", ")); with options: 'rotation:values=never,seed=1'; may be repeated."
  )
  var transform: [String] = []
  @Option(help: "Allocate codecs to weights so that they have this many bits on average.") var targetBpw:
    Double?
  @Option(help: "Allocate codecs to weights so that all weights need at most these bytes, such as 40MiB.")
  var targetSize: ByteCount?
  @Option(
    help: ArgumentHelp(
      "Codecs to allocate, separated by commas (default: those of the GGML types, or int2 to int8, that fit the container).",
      valueName: "list"))
  var candidates: String?
  @OptionGroup var corpus: CorpusArguments
  @Option(
    help: "Statistics from 'adze calibrate', or an importance matrix of llama.cpp, instead of a corpus.")
  var statistics: String?
  @OptionGroup(title: "Method Options") var methodArguments: MethodArguments
  @OptionGroup(title: "Learned Rounding") var learningArguments: LearningArguments
  @Option(
    help:
      "Regular expression on weight names to quantize, instead of all linear layers in blocks but the routers of experts; may be repeated."
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
  @Option(help: "Share of layers that may fall back to rounding before it is an error (default: 0.01).")
  var maxFallback: Double?
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
    guard recipe == nil || !hasChoices else {
      throw ValidationError("--recipe says what is done to which weight; leave those options out.")
    }
    guard targetBpw == nil || targetSize == nil else {
      throw ValidationError("--target-bpw and --target-size exclude each other.")
    }
    guard !isAllocating || (statistics == nil && !corpus.corpus.isEmpty && scheme == nil && codec == nil)
    else {
      throw ValidationError(
        "--target-bpw and --target-size measure on a --corpus and choose codecs; leave out --statistics, --scheme and --codec."
      )
    }
    guard isAllocating || candidates == nil else {
      throw ValidationError("--candidates belong to --target-bpw or --target-size.")
    }
    guard !isAllocating || !resume else { throw ValidationError("allocation cannot be resumed.") }
    guard (targetBpw ?? 4) > 1, (targetBpw ?? 4) <= 32 else {
      throw ValidationError("--target-bpw is above 1 and at most 32.")
    }
    guard (0...1).contains(maxFallback ?? 0) else {
      throw ValidationError("--max-fallback is a share from 0 to 1.")
    }
  }

  private var isAllocating: Bool { targetBpw != nil || targetSize != nil }

  private var hasChoices: Bool {
    method != nil || scheme != nil || codec != nil || groupSize != nil || symmetry != nil || scaleType != nil
      || activationArguments.scheme != nil || activationArguments.observer != nil || !target.isEmpty
      || !ignore.isEmpty || !methodArguments.values.isEmpty
      || cache.type != nil || cacheObserver.name != nil
  }

  func run() throws {
    FreedMemory.keep()
    let source = try ModelFormats.load(model)
    for warning in source.warnings { Console.warn(warning) }
    var recipe = try makeRecipe(source)
    var windows: CalibrationWindows?
    let (allocated, allocation) = try allocate(recipe, source, &windows)
    recipe = allocated
    let looksAtInputs = recipe.learnedRounding != nil || recipe.quantizesActivations || recipe.hasStaticCache
    let need = max(try recipe.need(), looksAtInputs ? .moments : .none)
    let plan = try QuantizationPlan(recipe: recipe, graph: source.graph, weights: source.requireCheckpoint())
    let target = try ModelContainers.container(named: container, output: output ?? "")
    try target.check(plan)
    try target.check(recipe)
    try target.check(cache: recipe.cache?.format)
    for remark in try target.remarks(on: source) { Console.warn(remark) }
    if let output { try target.checkOutput(output, source: source) }
    let calibration = try calibrationSource(need, source, windows)
    try checkMemory(plan, source, calibration, need)
    guard !dryRun, let output else { return try show(plan, recipe) }

    let bar = ProgressBar("quantize")
    let stage = try QuantizationStage(
      model: source, recipe: recipe, pool: execution.pool(), kernels: execution.kernels())
    let journal = try openJournal(output, stage, calibration)
    var result = try stage.run(calibration: calibration, journal: journal) {
      try bar.update($0.fraction, $0.what, step: $0.step)
    }
    result.allocation = allocation
    for warning in try target.warnings(for: ModelExport(result)) { Console.warn(warning) }
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

  private func makeRecipe(_ source: LoadedModel) throws -> QuantizationRecipe {
    let hasCalibration = !corpus.corpus.isEmpty || statistics != nil
    var result: QuantizationRecipe
    let (named, learning) = try methodStages()
    let isAWQ = named == "awq"
    let method = isAWQ ? "rtn" : named
    var options = methodArguments.values
    if isAWQ, options["scale-search"] == nil { options["scale-search"] = "least-squares" }
    if let recipe {
      let bytes = try FileReading.readAll(recipe, limit: Limits.standard.maxDocumentBytes)
      result = try RecipeDocument(yaml: String(decoding: bytes, as: UTF8.self), path: recipe)
        .recipe(for: source, hasCalibration: hasCalibration)
    } else if let scheme {
      result = try QuantizationRecipe(
        preset: .named(scheme), for: source, methodName: method, methodOptions: options,
        targets: target, ignored: ignore, hasCalibration: hasCalibration)
    } else {
      result = QuantizationRecipe(
        methodName: method, methodOptions: options, codec: try spelledCodec(),
        targets: target, ignored: ignore)
    }
    result.transforms += try ((isAWQ ? ["awq"] : []) + transform).map(Self.transform)
    try activationArguments.apply(to: &result)
    try cacheObserver.apply(cache, to: &result)
    if let learning { result.learnedRounding = learning }
    if let maxFallback { result.maximumFallbackShare = maxFallback }
    if corpus.minExpertTokens > 0 { result.minimumExpertTokens = corpus.minExpertTokens }
    return result
  }

  /// `NAME` or `NAME:key=value,...`.
  private static func transform(_ text: String) throws -> QuantizationRecipe.Transform {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    var options: [String: String] = [:]
    for option in parts.dropFirst().flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
      let pair = option.split(separator: "=", maxSplits: 1)
      guard pair.count == 2, options.updateValue(String(pair[1]), forKey: String(pair[0])) == nil else {
        throw ValidationError("--transform \(text): '\(option)' is no key=value, or there twice.")
      }
    }
    return QuantizationRecipe.Transform(name: String(parts[0]), options: options)
  }

  /// The recipe with allocated codecs, when a size is asked for.
  private func allocate(
    _ recipe: QuantizationRecipe, _ source: LoadedModel, _ windows: inout CalibrationWindows?
  ) throws -> (QuantizationRecipe, AllocationReport?) {
    let budget: BitAllocation.Budget
    if let targetBpw {
      budget = .bitsPerWeight(targetBpw)
    } else if let targetSize {
      budget = .byteCount(targetSize.value)
    } else {
      return (recipe, nil)
    }
    let target = try ModelContainers.container(named: container, output: output ?? "")
    var names = candidates?.split(separator: ",").map { String($0) } ?? []
    if names.isEmpty {
      let blocks = ["q2_k", "q3_k", "iq4_xs", "q4_k", "q5_k", "q6_k", "q8_0"]
      let fits = try target.refusal(CodecRegistry.codec(named: "q4_k"), 256, 256) == nil
      names =
        fits
        ? blocks
        : [
          "int2-g64-asym", "int3-g128-sym", "int4-g128-sym", "int5-g128-sym", "int6-g128-sym",
          "int8-g128-sym",
        ]
    }
    let codecs = try names.map { try CodecRegistry.codec(spelled: $0, CodecParameters()) }
    let read = try corpus.windows(for: source, execution)
    windows = read
    let bar = ProgressBar("allocate")
    let (result, report) = try BitAllocation(
      model: source, recipe: recipe, candidates: codecs, budget: budget, pool: execution.pool(),
      kernels: execution.kernels(), refusal: target.refusal
    ).run(windows: read) { try bar.update($0.fraction, $0.what, step: $0.step) }
    bar.finish()
    let uniform = report.uniformCodec.map {
      "; uniform \($0): \(NumberFormat.significant(report.uniformDivergence ?? 0, 3))"
    }
    Console.note(
      "allocation: KL \(NumberFormat.significant(report.divergence, 3)) when rounded\(uniform ?? "")"
        + (report.isUniform ? "; the uniform plan is better and is taken" : ""))
    return (result, report)
  }

  private func spelledCodec() throws -> any Codec {
    let scale = scaleType.flatMap { ElementType(rawValue: $0.uppercased()) }
    guard scaleType == nil || scale != nil else {
      throw ValidationError("--scale-type is f16, bf16 or f32.")
    }
    return try CodecRegistry.codec(
      spelled: codec ?? "int4",
      CodecParameters(groupSize: groupSize, isSymmetric: symmetry.map { $0 == .sym }, scaleType: scale))
  }

  /// The method, and what is learned after it; learned rounding alone begins at plain rounding.
  private func methodStages() throws -> (method: String, learning: LearnedRounding?) {
    let method = method ?? "gptq"
    var names = method.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    guard names.last == LearnedRounding.name else {
      try learningArguments.refuseUnlessEmpty(method: method)
      guard names.count == 1 else {
        throw ValidationError("--method \(method): one method, and ',\(LearnedRounding.name)' at its end.")
      }
      return (method, nil)
    }
    names.removeLast()
    guard names.count <= 1 else {
      throw ValidationError("--method \(method): one method, and ',\(LearnedRounding.name)' at its end.")
    }
    return (names.first ?? "rtn", try LearnedRounding(options: learningArguments.values))
  }

  /// - Parameter windows: those of the corpus, where something has read them before.
  private func calibrationSource(
    _ need: StatisticsNeed, _ source: LoadedModel, _ windows: CalibrationWindows?
  ) throws -> CalibrationSource {
    if need == .none {
      if !corpus.corpus.isEmpty || statistics != nil {
        Console.warn("the methods with these options need no calibration")
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
      guard need < .hessian, !(method ?? "").hasSuffix(LearnedRounding.name) else {
        throw ValidationError(
          "the method needs calibration: give --corpus FILE or --statistics FILE.")
      }
      return .none
    }
    if let windows { return .windows(windows) }
    return .windows(dryRun ? try corpus.textWindows(for: source) : try corpus.windows(for: source, execution))
  }

  private func checkMemory(
    _ plan: QuantizationPlan, _ source: LoadedModel, _ calibration: CalibrationSource, _ need: StatisticsNeed
  ) throws {
    guard let maxMemory else { return }
    var tokens = 0
    if case .windows(let windows) = calibration { tokens = windows.tokenCount }
    // Those that a dry run does not write.
    if dryRun, !isAllocating { tokens += corpus.selfGenerated * corpus.length }
    let needed = plan.memoryEstimate(
      graph: source.graph, calibrationTokens: tokens, needsSecondMoment: need >= .hessian,
      runsReference: need >= .drift)
    guard needed <= maxMemory.value else {
      throw PipelineError.memoryLimit(needed: needed, allowed: maxMemory.value)
    }
  }

  private func show(_ plan: QuantizationPlan, _ recipe: QuantizationRecipe) throws {
    var table = TextTable(
      ["weight", "shape", "now", "then", "method", "bytes now", "bytes then"],
      alignments: [.leading, .leading, .leading, .leading, .leading])
    for entry in plan.entries {
      table.addRow([
        entry.name, entry.shape.description, entry.source, entry.target, entry.method,
        NumberFormat.grouped(Double(entry.sourceByteCount)),
        NumberFormat.grouped(Double(entry.targetByteCount)),
      ])
    }
    for transform in recipe.transforms { try Console.print("before: \(transform.name)") }
    try Console.print(table.plain)
    try Console.print(
      "\(plan.selected.count) of \(plan.entries.count) weights, \(NumberFormat.fixed(plan.bitsPerWeight, 3)) bits per weight, "
        + "\(NumberFormat.bytes(plan.sourceByteCount)) to \(NumberFormat.bytes(plan.targetByteCount))")
    if let cache = recipe.cache { try Console.print("keys and values cached as \(cache.format)") }
  }

  private func summarize(_ result: QuantizedModel, _ output: String) throws {
    let reports = result.reports
    let error = reports.reduce(0) { $0 + $1.relativeError } / Double(max(reports.count, 1))
    let rounding = reports.reduce(0) { $0 + $1.roundingRelativeError } / Double(max(reports.count, 1))
    let names = Dictionary(grouping: reports, by: \.codec).sorted {
      ($1.value.count, $0.key) < ($0.value.count, $1.key)
    }
    .map { $0.value.count == reports.count ? $0.key : "\($0.key) (\($0.value.count))" }
    let cache = result.cache.map { "; keys and values cached as \($0.format)" } ?? ""
    guard !reports.isEmpty else { return try Console.print("\(output): weights as they are" + cache) }
    var line =
      "\(output): \(reports.count) layers as \(names.joined(separator: ", ")), "
      + "\(NumberFormat.fixed(result.bitsPerWeight, 3)) bits per weight, mean relative output error "
      + NumberFormat.significant(error, 3)
    if let inputs = ActivationArguments.summary(result) { line += ", inputs " + inputs }
    if result.calibration != nil { line += " (rounding: \(NumberFormat.significant(rounding, 3)))" }
    try Console.print(line + cache)
    for transform in result.transforms { try Console.print(transform.summary) }
    ExpertNotes.write(result.experts, minimum: corpus.minExpertTokens)
    let blocks = result.blockReports
    if !blocks.isEmpty {
      let ratio = blocks.reduce(0) { $0 + $1.lossAfter / max($1.lossBefore, .leastNormalMagnitude) }
      try Console.print(
        "learned rounding: \(blocks.count) blocks, loss \(NumberFormat.significant(ratio / Double(blocks.count), 3)) of "
          + "what it was on average, \(blocks.reduce(0) { $0 + $1.changedCodes }) codes changed, "
          + "\(blocks.count(where: \.keptStart)) blocks kept their start")
    }
    let retries = reports.count { $0.dampingRetryCount > 0 }
    let fallen = reports.count { $0.fallback != nil }
    let dead = reports.reduce(0) { $0 + $1.deadColumnCount }
    let uncorrected = reports.compactMap(\.uncorrected)
    if let reason = uncorrected.first {
      Console.warn(
        "\(uncorrected.count) of \(reports.count) layers do not make up for the errors of earlier layers: \(reason)"
      )
    }
    if retries + fallen + dead > 0 {
      Console.warn(
        "\(retries) layers needed more damping, \(fallen) fell back to rounding, \(dead) inputs never fired")
    }
  }
}
