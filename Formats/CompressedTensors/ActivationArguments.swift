import Codecs
import OrderedCollections
import SafeIO

/// `input_activations` of a group: how engines quantize the inputs of its modules.
enum ActivationArguments {
  /// The scheme that arguments stand for; nil when Adze executes none like it.
  ///
  /// A dynamic scale of a whole tensor would make a token depend on those that happen to be run beside it; every token gets its
  /// own instead, which is never coarser.
  static func scheme(_ value: JSONValue) -> ActivationScheme? {
    let bits = value["num_bits"]?.intValue ?? 8
    guard bits == 8 || bits == 4, value["symmetric"]?.boolValue ?? true else { return nil }
    let isFloat: Bool
    switch value["type"]?.stringValue?.lowercased() ?? "int" {
    case "int": isFloat = false
    case "float": isFloat = true
    default: return nil
    }
    guard value["scale_dtype"]?.stringValue?.hasSuffix("uint8") != true else { return nil }
    let isDynamic = value["dynamic"]?.boolValue ?? false
    guard value["dynamic"]?.stringValue == nil else { return nil }
    guard bits == 8 else { return isFloat || !isDynamic ? nil : narrow(value) }
    switch (value["strategy"]?.stringValue ?? (isDynamic ? "token" : "tensor"), isDynamic) {
    case ("token", true), ("tensor", true): return isFloat ? .fp8Token : .int8Token
    case ("group", true) where value["group_size"]?.intValue == 128: return isFloat ? .fp8Group : .int8Group
    case ("tensor", false): return isFloat ? .fp8Tensor : .int8Tensor
    default: return nil
    }
  }

  /// Dynamic integers of 4 bits.
  private static func narrow(_ value: JSONValue) -> ActivationScheme? {
    switch value["strategy"]?.stringValue ?? "token" {
    case "token", "tensor": .int4Token
    case "group" where value["group_size"]?.intValue == 128: .int4Group
    default: nil
    }
  }

  /// The arguments of a scheme; null for inputs as they are.
  static func arguments(_ scheme: ActivationScheme?) -> JSONValue {
    guard let scheme, scheme.kind != .float32 else { return .null }
    let type = scheme.kind == .fp8 ? "float" : "int"
    switch scheme.granularity {
    case .tensor: return .object(CompressedTensorsForm.arguments(bits: 8, type: type, strategy: "tensor"))
    case .group(let size):
      return .object(
        CompressedTensorsForm.arguments(
          bits: scheme.bits, type: type, strategy: "group", groupSize: size, isDynamic: true))
    case .token, .block:
      return .object(
        CompressedTensorsForm.arguments(bits: scheme.bits, type: type, strategy: "token", isDynamic: true))
    }
  }

  /// Arguments for people.
  static func text(_ value: JSONValue) -> String {
    let bits = value["num_bits"]?.intValue.map { "\($0)-bit " } ?? ""
    let isDynamic = value["dynamic"]?.boolValue ?? (value["dynamic"]?.stringValue != nil)
    return "\(bits)\(value["type"]?.stringValue ?? "int")\(isDynamic ? ", dynamic" : ", static")"
  }
}

extension CompressedTensorsLayout {
  /// Why the layout cannot say that inputs of weights of a codec are quantized by a scheme; nil when it can.
  public static func refusal(_ scheme: ActivationScheme, with codec: any Codec) -> String? {
    if scheme.kind == .float32 { return nil }
    guard codec is IntegerGroupCodec || codec is Float8Codec else {
      return "its \(codec.canonicalName) weights are for inputs as they are"
    }
    if scheme.outlierThreshold > 0 { return "it cannot keep outliers apart" }
    if scheme.granularity == .block {
      return "its dynamic scales are for tokens or groups of columns, whatever blocks the weights have"
    }
    return nil
  }

  /// Takes note of how inputs are quantized where the configuration asks for that, and warns of what is not executed.
  static func noteActivations(
    _ configuration: CompressedTensorsConfiguration, in reading: inout LayoutReading
  ) {
    var unknown: [String: Int] = [:]
    var missing = 0
    for (name, weight) in reading.weights {
      guard case .encoded(let matrix) = weight,
        let arguments = configuration.activations(of: ParameterName(name).module, matrix.codec)
      else { continue }
      guard let scheme = ActivationArguments.scheme(arguments) else {
        unknown[ActivationArguments.text(arguments), default: 0] += 1
        continue
      }
      if !reading.note(scheme, of: name) { missing += 1 }
    }
    for (text, count) in unknown.sorted(by: { $0.key < $1.key }) {
      reading.warnings.append(
        "engines are asked to quantize the inputs of \(count) weights (\(text)); here they stay as they are")
    }
    reading.warnOfMissingScales(missing)
  }
}
