import Codecs
import OrderedCollections
import SafeIO

extension GPTQLayout {
  /// The configuration of a checkpoint with these weights: `quantization_config` of `config.json` and, the same object,
  /// `quantize_config.json`.
  ///
  /// What most modules have is said once; modules that differ get a line of `dynamic`, as do those that stay as they
  /// are, with patterns that match their whole name.
  /// - Parameters:
  ///   - ignored: linear modules that are not quantized.
  ///   - meta: what the source says of how its codes were made, when they are written as they were.
  /// - Throws: ``GPTQError/unrepresentable(weight:encoding:reason:)``.
  public static func quantizationConfiguration(
    for weights: OrderedDictionary<String, Weight>, ignored: [String], version: GPTQVersion,
    meta: JSONValue? = nil
  ) throws(GPTQError) -> JSONValue {
    var modules: OrderedDictionary<String, IntegerGroupCodec> = [:]
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      modules[ParameterName(name).module] = try codec(of: name, matrix, as: IntegerGroupCodec.self)
    }
    var counts: OrderedDictionary<Settings, Int> = [:]
    for codec in modules.values { counts[Settings(codec), default: 0] += 1 }
    let most = counts.values.max() ?? 0
    let base = counts.first { $0.value == most }?.key ?? Settings(bits: 4, groupSize: 128, isSymmetric: true)
    var dynamic = JSONObject()
    for module in ignored where modules[module] == nil && module != "lm_head" {
      dynamic["-:" + pattern(module)] = .object([:])
    }
    for (module, codec) in modules where Settings(codec) != base {
      dynamic["+:" + pattern(module)] = .object(Settings(codec).members)
    }
    var result = base.members
    result["desc_act"] = .bool(modules.values.contains(where: \.hasGroupIndex))
    result["lm_head"] = .bool(modules["lm_head"] != nil)
    result["quant_method"] = "gptq"
    result["checkpoint_format"] = version == .v1 ? "gptq" : "gptq_v2"
    result["format"] = result["checkpoint_format"]
    result["pack_dtype"] = "int32"
    result["true_sequential"] = true
    if !dynamic.isEmpty { result["dynamic"] = .object(dynamic) }
    result["meta"] = meta ?? .object(["quantizer": ["adze"], "static_groups": false])
    return .object(result)
  }

  fileprivate struct Settings: Hashable {
    var bits: Int
    var groupSize: Int?
    var isSymmetric: Bool

    var members: JSONObject {
      [
        "bits": JSONValue(bits), "group_size": JSONValue(groupSize ?? -1), "sym": .bool(isSymmetric),
      ]
    }
  }

  /// A regular expression that matches a module's name and nothing else.
  private static func pattern(_ module: String) -> String {
    let special = Set(#".^$*+?()[]{}|\"#)
    return "^" + module.map { special.contains($0) ? "\\\($0)" : "\($0)" }.joined() + "$"
  }
}

extension GPTQLayout.Settings {
  fileprivate init(_ codec: IntegerGroupCodec) {
    self.init(bits: codec.bits, groupSize: codec.groupSize, isSymmetric: codec.isSymmetric)
  }
}
