import Codecs
import SafeIO

/// How the stored zero points are to be read.
public enum GPTQVersion: Sendable, Hashable {
  /// The stored number is the zero point less one, modulo 2 to the bits; `checkpoint_format` is `gptq`.
  case v1
  /// The stored number is the zero point; `checkpoint_format` is `gptq_v2`.
  case v2
}

/// What the configuration of a GPTQ checkpoint declares.
///
/// Modules may deviate (`dynamic`). Which do is seen by their tensors, so that the patterns need not be matched; they
/// only say which deviations there are.
struct GPTQConfiguration {
  var version = GPTQVersion.v1
  /// Whether the bits of a code lie in planes (`gptq_p`).
  var isPlanar = false
  /// Every number of bits that is declared.
  var bits: Set<Int> = []
  /// Every group size that is declared, that of most modules first; -1: the whole column.
  var groupSizes: [Int] = []
  /// Every symmetry that is declared.
  var symmetries: Set<Bool> = []

  init(_ value: JSONValue) throws(GPTQError) {
    guard value.objectValue != nil else {
      throw .configuration(key: "", problem: "an object is needed", found: value.kindName)
    }
    if let method = value["quant_method"], method.stringValue != "gptq" {
      throw .configuration(
        key: "quant_method", problem: "another quantization method", found: method.serialized())
    }
    try readForm(value)
    try read(value, key: "", isBase: true)
    guard let overrides = value["dynamic"], !overrides.isNull else { return }
    guard let patterns = overrides.objectValue else {
      throw .configuration(key: "dynamic", problem: "an object is needed", found: overrides.kindName)
    }
    for (pattern, override) in patterns where !pattern.hasPrefix("-:") {
      try read(override, key: "dynamic.\(pattern).", isBase: false)
    }
  }

  private mutating func readForm(_ value: JSONValue) throws(GPTQError) {
    if value["is_marlin_format"]?.boolValue == true {
      throw .unsupported(form: "marlin", reason: "its codes lie in the order of a GPU kernel")
    }
    for key in ["checkpoint_format", "format"] {
      guard let form = value[key], !form.isNull else { continue }
      switch form.stringValue {
      case "gptq": break
      case "gptq_v2": version = .v2
      case "gptq_p": (version, isPlanar) = (.v2, true)
      case "marlin"?: throw .unsupported(form: "marlin", reason: "its codes lie in the order of a GPU kernel")
      case let name?: throw .unsupported(form: name, reason: "only gptq, gptq_v2 and gptq_p are described")
      case nil: throw .configuration(key: key, problem: "a string is needed", found: form.kindName)
      }
    }
    if let type = value["pack_dtype"], !type.isNull, type.stringValue != "int32" {
      throw .unsupported(form: "pack_dtype \(type.serialized())", reason: "codes are read from 32-bit words")
    }
  }

  private mutating func read(_ value: JSONValue, key: String, isBase: Bool) throws(GPTQError) {
    if let number = value["bits"], isBase || !number.isNull {
      guard let bits = number.intValue, (2...8).contains(bits) else {
        throw .configuration(key: key + "bits", problem: "2 to 8 bits are read", found: number.serialized())
      }
      self.bits.insert(bits)
    } else if isBase {
      throw .configuration(key: "bits", problem: "the key is missing", found: nil)
    }
    if let number = value["group_size"], !number.isNull {
      guard let size = number.intValue, size == -1 || size > 0 else {
        throw .configuration(
          key: key + "group_size", problem: "a positive size or -1 is needed", found: number.serialized())
      }
      if !groupSizes.contains(size) { groupSizes.append(size) }
    } else if isBase {
      groupSizes.append(-1)
    }
    if let flag = value["sym"], !flag.isNull {
      guard let isSymmetric = flag.boolValue else {
        throw .configuration(key: key + "sym", problem: "a truth value is needed", found: flag.serialized())
      }
      symmetries.insert(isSymmetric)
    } else if isBase {
      symmetries.insert(true)
    }
  }
}
