import Codecs
import OrderedCollections
import SafeIO

/// How a module is quantized.
struct MLXArguments: Hashable, Sendable {
  /// The forms of codes and scales.
  enum Mode: String, Sendable, CaseIterable {
    case affine, mxfp4, mxfp8, nvfp4
  }

  var mode = Mode.affine
  var bits: Int
  var groupSize: Int
}

/// The object `quantization`: arguments for all modules, and for some by their path.
struct MLXConfiguration: Sendable {
  private let common: MLXArguments
  private let overrides: [String: MLXArguments]

  /// - Throws: ``MLXError/configuration(key:problem:found:)``.
  init(_ value: JSONValue) throws(MLXError) {
    guard let members = value.objectValue else {
      throw .configuration(key: "quantization", problem: "an object is needed", found: value.serialized())
    }
    common = try MLXConfiguration.arguments(value, key: "quantization", nil)
    var overrides: [String: MLXArguments] = [:]
    for (path, member) in members where member.objectValue != nil {
      overrides[path] = try MLXConfiguration.arguments(member, key: "quantization.\(path)", common)
    }
    self.overrides = overrides
  }

  func arguments(of module: String) -> MLXArguments { overrides[module] ?? common }

  private static func arguments(
    _ value: JSONValue, key: String, _ common: MLXArguments?
  ) throws(MLXError) -> MLXArguments {
    let name = value["mode"]?.stringValue ?? "affine"
    guard let mode = MLXArguments.Mode(rawValue: name) else {
      throw .configuration(key: key + ".mode", problem: "this mode is not read", found: name)
    }
    let defaults =
      switch mode {
      case .affine: (4, 64)
      case .mxfp4: (4, 32)
      case .mxfp8: (8, 32)
      case .nvfp4: (4, 16)
      }
    let bits = value["bits"]?.intValue ?? defaults.0
    let size = value["group_size"]?.intValue ?? defaults.1
    guard mode == .affine ? [2, 3, 4, 5, 6, 8].contains(bits) : bits == defaults.0 else {
      throw .configuration(key: key + ".bits", problem: "\(name) does not have so many", found: "\(bits)")
    }
    guard mode == .affine ? (2...1 << 20).contains(size) : size == defaults.1 else {
      throw .configuration(
        key: key + ".group_size", problem: "\(name) does not have such groups", found: "\(size)")
    }
    return MLXArguments(mode: mode, bits: bits, groupSize: size)
  }
}

extension MLXLayout {
  /// The object for the keys `quantization` and `quantization_config` of `config.json`.
  ///
  /// What most modules have is said once, modules that differ are named; so are those that are not quantized.
  /// - Parameter ignored: linear modules that are not quantized.
  /// - Throws: ``MLXError/unrepresentable(weight:encoding:reason:)``.
  public static func quantizationConfiguration(
    for weights: OrderedDictionary<String, Weight>, ignored: [String]
  ) throws(MLXError) -> JSONValue {
    var modules: OrderedDictionary<String, MLXArguments> = [:]
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      modules[try module(of: name, matrix)] = arguments(matrix)
    }
    var counts: OrderedDictionary<MLXArguments, Int> = [:]
    for arguments in modules.values { counts[arguments, default: 0] += 1 }
    let most = counts.values.max() ?? 0
    let common = counts.first { $0.value == most }?.key ?? MLXArguments(bits: 4, groupSize: 64)
    var result = members(common)
    for (module, arguments) in modules where arguments != common {
      result[module] = .object(members(arguments))
    }
    for module in ignored where modules[module] == nil { result[module] = false }
    return .object(result)
  }

  private static func members(_ arguments: MLXArguments) -> JSONObject {
    [
      "group_size": JSONValue(arguments.groupSize), "bits": JSONValue(arguments.bits),
      "mode": .string(arguments.mode.rawValue),
    ]
  }
}
