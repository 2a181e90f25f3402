import SafeIO
import TensorCore

/// How one group of modules is quantized, as `config_groups` says it.
struct QuantizationArguments: Hashable {
  var bits: Int
  /// Columns that share a scale; nil for whole rows or the whole tensor.
  var groupSize: Int?
  var isSymmetric: Bool

  /// The distinct arguments of integer weights in a configuration.
  /// - Throws: ``CompressedTensorsError/configuration(key:problem:found:)``.
  static func all(in configuration: JSONValue) throws(CompressedTensorsError) -> [QuantizationArguments] {
    guard let method = configuration["quant_method"]?.stringValue else {
      throw .configuration(key: "quant_method", problem: "the key is missing", found: nil)
    }
    guard method == "compressed-tensors" else {
      throw .configuration(key: "quant_method", problem: "another quantization method", found: method)
    }
    guard let groups = configuration["config_groups"]?.objectValue, !groups.isEmpty else {
      throw .configuration(key: "config_groups", problem: "there are no groups", found: nil)
    }
    try checkIgnored(configuration["ignore"])
    var result: [QuantizationArguments] = []
    for (name, group) in groups {
      guard let targets = group["targets"]?.arrayValue, targets.allSatisfy({ $0.stringValue != nil }) else {
        throw .configuration(
          key: "config_groups.\(name).targets", problem: "a list of strings is needed", found: nil)
      }
      guard let weights = group["weights"], !weights.isNull else { continue }
      guard weights["type"]?.stringValue ?? "int" == "int" else { continue }
      let arguments = try QuantizationArguments(weights, key: "config_groups.\(name).weights")
      if !result.contains(arguments) { result.append(arguments) }
    }
    return result
  }

  private static func checkIgnored(_ value: JSONValue?) throws(CompressedTensorsError) {
    guard let value, !value.isNull else { return }
    guard let patterns = value.arrayValue, patterns.allSatisfy({ $0.stringValue != nil }) else {
      throw .configuration(key: "ignore", problem: "a list of strings is needed", found: nil)
    }
  }

  private init(_ value: JSONValue, key: String) throws(CompressedTensorsError) {
    guard let bits = value["num_bits"]?.intValue, (2...8).contains(bits) else {
      throw .configuration(
        key: key + ".num_bits", problem: "2 to 8 bits are read", found: value["num_bits"]?.serialized())
    }
    self.bits = bits
    isSymmetric = value["symmetric"]?.boolValue ?? true
    switch value["strategy"]?.stringValue {
    case "group":
      guard let size = value["group_size"]?.intValue, size > 0 else {
        throw .configuration(
          key: key + ".group_size", problem: "a positive size is needed",
          found: value["group_size"]?.serialized())
      }
      groupSize = size
    case "channel", "tensor": groupSize = nil
    case nil: groupSize = value["group_size"]?.intValue.flatMap { $0 > 0 ? $0 : nil }
    case let strategy?:
      throw .configuration(
        key: key + ".strategy", problem: "this strategy of weights is not read", found: strategy)
    }
  }
}
