import ArgumentParser
import Codecs
import Evaluation
import Kernels
import Pipeline
import SafeIO
import TensorCore

struct ConvertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Write a model in another container, and prove what that did to its weights.",
    discussion: """
      Quantized weights keep their values where the container can hold them: codes, scales and zero points move, \
      nothing is rounded again. Plain weights keep their type, get that of --dtype, or are rounded to --codec.

        adze convert MODEL -o model.gguf                      safetensors to GGUF, or back: -o DIRECTORY
        adze convert MODEL -o model.gguf --codec q8_0         and rounded on the way
        adze convert GPTQ-MODEL -o DIRECTORY --container awq  codes as they are, in another layout
        adze convert MODEL -o OUT --container gguf --plan     what would happen to every weight
        adze convert MODEL -o m.gguf --split-max-size 2G      m-00001-of-0000N.gguf and so on

      At the end the written file is read again and compared with the source, weight by weight.

      Containers (from the output's name unless --container is given):
      \(ModelContainers.convertible.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))
      """)

  @Argument(help: "The model.") var model: String
  @Option(name: [.short, .long], help: "File or directory to write.") var output: String?
  @Option(help: "Where the bits go; from the output's name unless given.") var container: String?
  @Option(help: "Type of plain matrices: f32, f16 or bf16 (default: as they are).") var dtype: String?
  @Option(help: "Codec that the linear layers' plain weights are rounded to, such as q8_0 or q4_k.")
  var codec: String?
  @Option(
    parsing: .unconditional,
    help: "Columns that share a scale, for codecs that leave it open; -1: the whole row.")
  var groupSize: Int?
  @Option(
    help: "How scales are chosen with --codec: extremes (fast, as reference quantizers do) or least-squares.")
  var scaleSearch: SearchChoice?
  @Option(
    help:
      "Regular expression on weight names to round, instead of all linear layers in blocks but the routers of experts; may be repeated."
  )
  var target: [String] = []
  @Option(help: "Regular expression on weight names not to round; may be repeated.") var ignore: [String] = []
  @Flag(help: "Store quantized weights as plain numbers (of --dtype, bf16 unless given).") var dequantize =
    false
  @Option(
    help: "Most bytes of tensors in a GGUF file, such as 2G or 500M; more become parts beside each other.")
  var splitMaxSize: ByteCount?
  @Option(help: "Most tensors in a GGUF file; more become parts.") var splitMaxTensors: Int?
  @Flag(help: "Say for every weight whether it stays exact, and do nothing.") var plan = false
  @Flag(help: "Do not read the written file again to compare it with the source.") var noProof = false
  @Flag(help: "Print one JSON object.") var json = false
  @OptionGroup var execution: ExecutionArguments

  enum SearchChoice: String, ExpressibleByArgument, CaseIterable {
    case extremes
    case leastSquares = "least-squares"

    var search: ScaleSearch { self == .extremes ? .extremes : .standard }
  }

  func validate() throws {
    guard output != nil || plan else { throw ValidationError("Give --output, or --plan.") }
    guard output != nil || container != nil else {
      throw ValidationError("--plan needs --output or --container.")
    }
    guard codec != nil || (groupSize == nil && scaleSearch == nil && target.isEmpty && ignore.isEmpty) else {
      throw ValidationError("--group-size, --scale-search, --target and --ignore go with --codec.")
    }
    guard splitMaxTensors ?? 1 > 0 else { throw ValidationError("--split-max-tensors is at least 1.") }
    guard codec == nil || !dequantize else {
      throw ValidationError("--codec and --dequantize exclude each other.")
    }
  }

  func run() throws {
    let source = try ModelFormats.load(model)
    for warning in source.warnings { Console.warn(warning) }
    let target = try ModelContainers.converting(source, to: output ?? "", named: container)
    let conversion = try ConversionPlan(try request(target), of: source)
    for remark in try target.remarks(on: source) { Console.warn(remark) }
    let pool = execution.pool()
    guard let output, !plan else { return try show(conversion, of: source, pool) }
    try target.checkOutput(output, source: source)
    let bar = ProgressBar("convert")
    let stage = try ConversionStage(model: source, plan: conversion, pool: pool)
    for warning in try stage.warnings() { Console.warn(warning) }
    let files = try stage.files(for: output) ?? []
    // Without a proof there is nothing to do meanwhile: then files are synced before they get their names.
    let pending = noProof ? nil : PendingSync()
    let written = try stage.write(to: output, pendingSync: pending) { try bar.update($1 * 0.8, $0) }
    let proof =
      noProof
      ? nil
      : try ConversionProof(plan: conversion, source: source, written: written, pool: pool) {
        try bar.update(0.8 + $1 * 0.2, $0)
      }
    try pending?.finish()
    bar.finish()
    try report(conversion, proof, written, files)
  }

  private func request(_ container: ModelContainer) throws -> ConversionRequest {
    var type: ElementType?
    if let dtype {
      type = ElementType(rawValue: dtype.uppercased())
      guard let type, [.f32, .f16, .bf16].contains(type) else {
        throw ValidationError("--dtype is f32, f16 or bf16.")
      }
    }
    let codec = try codec.map { try CodecRegistry.codec(spelled: $0, CodecParameters(groupSize: groupSize)) }
    return ConversionRequest(
      container: container, elementType: type, codec: codec,
      search: scaleSearch?.search ?? codec.map { ConversionRequest.usualSearch(for: $0) } ?? .standard,
      targets: target,
      ignored: ignore, dequantizes: dequantize,
      partLimit: PartLimit(byteCount: splitMaxSize?.value, tensorCount: splitMaxTensors))
  }

  /// The files that would be written, when that is known and nothing is refused.
  private func files(_ conversion: ConversionPlan, of source: LoadedModel, _ pool: ThreadPool) throws
    -> [PlannedFile]
  {
    guard conversion.refused.isEmpty else { return [] }
    return try ConversionStage(model: source, plan: conversion, pool: pool).files(for: output ?? "NAME.gguf")
      ?? []
  }

  private func show(_ conversion: ConversionPlan, of source: LoadedModel, _ pool: ThreadPool) throws {
    let files = try files(conversion, of: source, pool)
    if json {
      var object = conversion.json.objectValue ?? JSONObject()
      if !files.isEmpty { object["files"] = .array(files.map(\.json)) }
      return try Console.print(.object(object))
    }
    var table = TextTable(
      ["weight", "shape", "now", "then", "values", ""],
      alignments: [.leading, .leading, .leading, .leading, .leading, .leading])
    for entry in conversion.entries {
      var remark = entry.remark ?? ""
      if case .refused(let reason) = entry.verdict { remark = reason }
      table.addRow([
        entry.name, entry.shape.description, entry.source, entry.target, entry.verdict.text, remark,
      ])
    }
    try Console.print(table.plain)
    let kinds = ["exact", "bounded", "rounded", "refused"]
    let counts = kinds.map { kind in conversion.entries.count { $0.verdict.kind == kind } }
    try Console.print(
      zip(kinds, counts).filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", "))
    for file in files {
      try Console.print(
        "\(file.path): \(file.tensorCount) tensors, \(NumberFormat.bytes(file.tensorByteCount))")
    }
  }

  private func report(
    _ conversion: ConversionPlan, _ proof: ConversionProof?, _ output: String, _ files: [PlannedFile]
  ) throws {
    if json {
      var object = conversion.json.objectValue ?? JSONObject()
      object["output"] = .string(output)
      if !files.isEmpty { object["files"] = .array(files.map(\.json)) }
      object["proof"] = proof?.json ?? .null
      return try Console.print(.object(object))
    }
    guard let proof else { return try Console.print("\(output): written, not compared with its source") }
    let parts = files.count > 1 ? " in \(files.count) parts" : ""
    let weights = "\(output): \(proof.rows.count) weights\(parts)"
    guard let worst = proof.worst, worst.maximumDifference > 0 else {
      return try Console.print(weights + ", every value is the same (maximum difference 0)")
    }
    try Console.print(
      weights + ", \(proof.exactCount) the same; maximum difference "
        + NumberFormat.significant(Double(worst.maximumDifference), 3)
        + " in \(worst.name) (largest value \(NumberFormat.significant(Double(worst.maximumMagnitude), 3)), "
        + "relative error \(NumberFormat.significant(worst.relativeError, 3)))")
  }
}
