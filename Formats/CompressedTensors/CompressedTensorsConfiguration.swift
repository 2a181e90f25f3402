import Codecs
import SafeIO

/// What `quantization_config` says, as far as tensors do not say it themselves.
struct CompressedTensorsConfiguration {
  /// One entry of `config_groups` that quantizes weights.
  struct Group {
    var name: String
    var arguments: QuantizationArguments
    /// The form of this group, or that of the whole checkpoint.
    var format: String?
    /// Modules, classes and patterns that it is for.
    var targets: [String]
    /// The entry itself.
    var value: JSONValue

    /// What it asks engines to do to the inputs of its modules; nil for nothing.
    var activations: JSONValue? {
      // A literal nil would be the JSON value.
      guard let value = value["input_activations"], !value.isNull else { return Optional.none }
      return value
    }
  }

  var groups: [Group] = []
  var format: String?
  /// Whether weights are stored as they were before quantization, beside their scales.
  var isDense: Bool { format == "dense" || format == nil && groups.isEmpty }

  /// Distinct arguments of integer weights.
  var integerArguments: [QuantizationArguments] {
    var result: [QuantizationArguments] = []
    for group in groups where group.arguments.kind == .integer && !result.contains(group.arguments) {
      result.append(group.arguments)
    }
    return result
  }

  /// - Throws: ``CompressedTensorsError``.
  init(_ value: JSONValue) throws(CompressedTensorsError) {
    guard let method = value["quant_method"]?.stringValue else {
      throw .configuration(key: "quant_method", problem: "the key is missing", found: nil)
    }
    guard method == "compressed-tensors" else {
      throw .configuration(key: "quant_method", problem: "another quantization method", found: method)
    }
    format = value["format"]?.stringValue
    try Self.check(format: format, key: "format")
    try Self.checkAbsence(value)
    try Self.checkPatterns(value["ignore"])
    let groups = value["config_groups"]?.objectValue ?? [:]
    // A checkpoint may have nothing quantized but its cache.
    guard !groups.isEmpty || value["kv_cache_scheme"]?.objectValue != nil else {
      throw .configuration(key: "config_groups", problem: "there are no groups", found: nil)
    }
    for (name, group) in groups { try add(name, group) }
  }

  private mutating func add(_ name: String, _ group: JSONValue) throws(CompressedTensorsError) {
    guard let targets = group["targets"]?.arrayValue, targets.allSatisfy({ $0.stringValue != nil }) else {
      throw .configuration(
        key: "config_groups.\(name).targets", problem: "a list of strings is needed", found: nil)
    }
    let form = group["format"]?.stringValue
    try Self.check(format: form, key: "config_groups.\(name).format")
    guard let weights = group["weights"], !weights.isNull else { return }
    let arguments = try QuantizationArguments(weights, key: "config_groups.\(name).weights")
    groups.append(
      Group(
        name: name, arguments: arguments, format: form ?? format, targets: targets.compactMap(\.stringValue),
        value: group))
  }

  private static func check(format: String?, key: String) throws(CompressedTensorsError) {
    switch format {
    case nil, "dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
      "mixed-precision", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized":
      return
    case "sparse-bitmask", "sparse-24-bitmask":
      throw .unsupported(form: key, reason: "\(format ?? ""): weights without their zeros")
    case "marlin-24":
      throw .unsupported(form: key, reason: "marlin-24: the order of a GPU kernel")
    case let format?: throw .unsupported(form: key, reason: "the form \(format)")
    }
  }

  /// Refuses what would change what the model computes.
  private static func checkAbsence(_ value: JSONValue) throws(CompressedTensorsError) {
    if let sparse = value["sparsity_config"]?["format"]?.stringValue, sparse != "dense" {
      throw .unsupported(form: "sparsity_config", reason: "\(sparse): weights without their zeros")
    }
    if let transforms = value["transform_config"]?["config_groups"]?.objectValue, !transforms.isEmpty {
      throw .unsupported(form: "transform_config", reason: "rotations that are applied when the model runs")
    }
  }

  private static func checkPatterns(_ value: JSONValue?) throws(CompressedTensorsError) {
    guard let value, !value.isNull else { return }
    guard let patterns = value.arrayValue, patterns.allSatisfy({ $0.stringValue != nil }) else {
      throw .configuration(key: "ignore", problem: "a list of strings is needed", found: nil)
    }
  }

  /// What is asked for the inputs of a module; nil for nothing, or when it cannot be told which group it is of.
  ///
  /// A module is of a group that names it, else of those whose arguments its weight has, as long as they ask for the same.
  func activations(of module: String, _ codec: any Codec) -> JSONValue? {
    if let named = groups.first(where: { $0.targets.contains(module) }) { return named.activations }
    let wanted = CompressedTensorsForm(codec).flatMap {
      try? QuantizationArguments(.object($0.weights), key: "")
    }
    var fits = groups.filter { $0.arguments == wanted }
    // Codes in whole bytes are read as 8 bits, whatever their configuration says.
    if fits.isEmpty { fits = groups.filter { wanted.map($0.arguments.isLike) ?? false } }
    if fits.isEmpty, groups.count == 1 { fits = groups }
    guard let first = fits.first, fits.allSatisfy({ $0.activations == first.activations }) else { return nil }
    return first.activations
  }
}
