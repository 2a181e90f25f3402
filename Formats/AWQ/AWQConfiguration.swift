import Codecs
import SafeIO

/// What the configuration of an AWQ checkpoint declares; the older file `quant_config.json` has other names for it.
struct AWQConfiguration {
  /// Inputs that share a scale; nil: all of them.
  var groupSize: Int?
  /// Whether zero points are stored.
  var hasZeroPoints: Bool

  init(_ value: JSONValue) throws(AWQError) {
    guard value.objectValue != nil else {
      throw .configuration(key: "", problem: "an object is needed", found: value.kindName)
    }
    if let method = value["quant_method"], method.stringValue != "awq" {
      throw .configuration(
        key: "quant_method", problem: "another quantization method", found: method.serialized())
    }
    let version = (value["version"] ?? value["format"])?.stringValue?.lowercased() ?? "gemm"
    switch version {
    case "gemm": break
    case "gemv": throw .unsupported(form: version, reason: "its codes are packed along the inputs")
    case "gemv_fast", "llm-awq":
      throw .unsupported(form: version, reason: "its codes lie in 16-bit words, four rows interleaved")
    case "marlin", "exllama", "ipex":
      throw .unsupported(form: version, reason: "its codes lie in the order of a GPU kernel")
    default: throw .unsupported(form: version, reason: "only version gemm is described")
    }
    let bits = value["bits"] ?? value["w_bit"]
    guard bits?.intValue == 4 else {
      throw .configuration(key: "bits", problem: "AWQ has codes of 4 bits", found: bits?.serialized())
    }
    let size = value["group_size"] ?? value["q_group_size"] ?? -1
    guard let size = size.intValue, size == -1 || size > 0 else {
      throw .configuration(
        key: "group_size", problem: "a positive size or -1 is needed", found: size.serialized())
    }
    groupSize = size == -1 ? nil : size
    hasZeroPoints = value["zero_point"]?.boolValue ?? true
    if let modules = value["modules_to_not_convert"], !modules.isNull,
      !(modules.arrayValue?.allSatisfy { $0.stringValue != nil } ?? false)
    {
      throw .configuration(
        key: "modules_to_not_convert", problem: "a list of strings is needed", found: modules.serialized())
    }
  }
}
