import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension CompressedTensorsLayout {
  /// The object `quantization_config` for `config.json`.
  ///
  /// One codec for all weights targets the class `Linear`; several codecs target their modules by name, the most
  /// common one first.
  /// - Parameter ignored: modules of the class `Linear` that are not quantized; `lm_head` is added when it is not quantized.
  /// - Throws: ``CompressedTensorsError/unrepresentable(weight:encoding:reason:)``.
  public static func quantizationConfiguration(
    for weights: OrderedDictionary<String, Weight>, ignored: [String]
  ) throws(CompressedTensorsError) -> JSONValue {
    var modules: OrderedDictionary<String, [String]> = [:]
    var codecs: [String: IntegerGroupCodec] = [:]
    var quantized: Set<String> = []
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      let codec = try representable(name, matrix)
      let key = "\(codec.bits) \(codec.groupSize ?? -1) \(codec.isSymmetric)"
      let module = split(name).module
      modules[key, default: []].append(module)
      codecs[key] = codec
      quantized.insert(module)
    }
    var groups = JSONObject()
    let keys = modules.keys.enumerated().sorted { first, second in
      let counts = (modules[first.element]?.count ?? 0, modules[second.element]?.count ?? 0)
      return counts.0 == counts.1 ? first.offset < second.offset : counts.0 > counts.1
    }
    for (index, key) in keys.enumerated() {
      guard let codec = codecs[key.element], let names = modules[key.element] else { continue }
      groups["group_\(index)"] = group(codec, targets: keys.count == 1 ? ["Linear"] : names)
    }
    var unquantized = OrderedSet(ignored.filter { !quantized.contains($0) })
    if !quantized.contains("lm_head") { unquantized.append("lm_head") }
    return [
      "quant_method": "compressed-tensors",
      "format": "pack-quantized",
      "quantization_status": "compressed",
      "config_groups": .object(groups),
      "ignore": .array(unquantized.sorted().map { .string($0) }),
      "global_compression_ratio": nil,
      "kv_cache_scheme": nil,
    ]
  }

  private static func group(_ codec: IntegerGroupCodec, targets: [String]) -> JSONValue {
    let weights: JSONValue = [
      "num_bits": JSONValue(codec.bits),
      "type": "int",
      "symmetric": .bool(codec.isSymmetric),
      "strategy": codec.groupSize == nil ? "channel" : "group",
      "group_size": codec.groupSize.map { JSONValue($0) } ?? nil,
      "dynamic": false,
      "actorder": nil,
      "block_structure": nil,
      "observer": "minmax",
      "observer_kwargs": .object(JSONObject()),
    ]
    return [
      "targets": .array(targets.map { .string($0) }),
      "weights": weights,
      "input_activations": nil,
      "output_activations": nil,
      "format": "pack-quantized",
    ]
  }
}
