import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// How the weights of a model are stored, layer by layer.
struct StorageScheme {
  /// Layers that follow each other and are stored alike.
  struct Run {
    var layers: ClosedRange<Int>
    /// Codec or element type of each linear weight, by the module's name inside the layer.
    let encodings: OrderedDictionary<String, String>
  }

  /// Runs of equal layers, in order.
  private(set) var runs: [Run] = []
  /// Encodings of weights outside of layers, such as embedding and head.
  private(set) var outside: OrderedDictionary<String, String> = [:]
  /// Bits of the codes alone, scales and zero points left out, averaged over the linear weights in layers.
  let nominalBits: Double

  init(graph: Graph, weights: OrderedDictionary<String, Weight>) {
    let linear = OrderedSet(graph.linearNodes.flatMap(\.weights))
    let embeddings = graph.nodes.filter { $0.operation == .embedding }.flatMap(\.constantOperands)
    var layers: OrderedDictionary<Int, OrderedDictionary<String, String>> = [:]
    var bits = 0.0
    var count = 0
    for name in linear.union(embeddings) {
      guard let weight = weights[name] else { continue }
      guard let layer = LayerNumber.of(name) else {
        outside[name] = weight.encodingName
        continue
      }
      layers[layer, default: [:]][Self.role(name)] = weight.encodingName
      bits += Self.nominalBits(weight) * Double(weight.shape.elementCount)
      count += weight.shape.elementCount
    }
    nominalBits = bits / Double(max(count, 1))
    for (layer, encodings) in layers.sorted(by: { $0.key < $1.key }) {
      if let last = runs.last, last.encodings == encodings, last.layers.upperBound == layer - 1 {
        runs[runs.count - 1].layers = last.layers.lowerBound...layer
      } else {
        runs.append(Run(layers: layer...layer, encodings: encodings))
      }
    }
  }

  /// What follows the layer's number in a weight's name, without `.weight`.
  private static func role(_ name: String) -> String {
    let parts = name.split(separator: ".")
    let start = (parts.firstIndex { Int($0) != nil } ?? -1) + 1
    return parts[start...].filter { $0 != "weight" }.joined(separator: ".")
  }

  /// Bits of a code: the number in the codec's name, which every codec that has codes carries there.
  private static func nominalBits(_ weight: Weight) -> Double {
    switch weight {
    case .dense(let tensor): return Double(tensor.elementType.bitWidth)
    case .encoded(let matrix):
      let name = matrix.codec.canonicalName.prefix { $0 != "-" }
      let digits = name.drop { !$0.isNumber }.prefix { $0.isNumber }
      return Double(digits) ?? matrix.codec.bitsPerWeight(columns: matrix.columns)
    }
  }
}

extension StorageScheme.Run {
  /// `0-7: int4-g128-sym`, or with the modules where they differ.
  var text: String {
    let range = layers.count == 1 ? "\(layers.lowerBound)" : "\(layers.lowerBound)-\(layers.upperBound)"
    var modules: OrderedDictionary<String, [String]> = [:]
    for (role, encoding) in encodings { modules[encoding, default: []].append(role) }
    guard modules.count > 1 else { return "\(range): \(modules.keys.first ?? "nothing")" }
    // The most common one needs no list of its modules.
    let common = modules.max { $0.value.count < $1.value.count }?.key ?? ""
    let others = modules.filter { $0.key != common }.map {
      "\($0.key) (\($0.value.joined(separator: ", ")))"
    }
    return "\(range): \(common), \(others.joined(separator: ", "))"
  }

  var json: JSONValue {
    [
      "first": JSONValue(layers.lowerBound), "last": JSONValue(layers.upperBound),
      "encodings": .object(JSONObject(encodings.map { ($0.key, .string($0.value)) })),
    ]
  }
}

/// Who made a model, and how it says that it is quantized.
enum Provenance {
  /// `gptq, 4 bits, group 128, symmetric` and the like; nil when the configuration says nothing.
  static func quantization(_ configuration: JSONValue) -> String? {
    guard let value = configuration["quantization_config"] ?? configuration["quantization"], !value.isNull
    else { return nil }
    var parts = [value["quant_method"]?.stringValue ?? "unnamed"]
    if let format = (value["format"] ?? value["checkpoint_format"] ?? value["version"])?.stringValue {
      parts.append(format)
    }
    if let bits = (value["bits"] ?? value["w_bit"])?.intValue { parts.append("\(bits) bits") }
    if let group = (value["group_size"] ?? value["q_group_size"])?.intValue {
      parts.append(group == -1 ? "one group a row" : "group \(group)")
    }
    if let symmetric = value["sym"]?.boolValue { parts.append(symmetric ? "symmetric" : "asymmetric") }
    if value["desc_act"]?.boolValue == true { parts.append("act-order") }
    if let scheme = value["kv_cache_scheme"], !scheme.isNull { parts.append("quantized KV cache") }
    return parts.joined(separator: ", ")
  }

  /// What the configuration says of origin and tools, in the order in which people ask.
  static func origin(_ configuration: JSONValue) -> [(title: String, key: String, value: String)] {
    let quantization = configuration["quantization_config"] ?? .null
    let quantizers = (quantization["meta"]?["quantizer"]?.arrayValue ?? []).compactMap(\.stringValue)
    let entries: [(String, String, String?)] = [
      ("name", "name", configuration["_name_or_path"]?.stringValue),
      ("quantized by", "quantized_by", quantizers.isEmpty ? nil : quantizers.joined(separator: ", ")),
      ("transformers", "transformers_version", configuration["transformers_version"]?.stringValue),
    ]
    return entries.compactMap { title, key, value in
      value.flatMap { $0.isEmpty ? nil : (title, key, $0) }
    }
  }

  /// Keys of GGUF metadata that say who made the file and with what.
  static let ggufKeys = [
    "general.author", "general.organization", "general.license", "general.source.url", "general.quantized_by",
    "quantize.imatrix.file", "quantize.imatrix.dataset", "quantize.imatrix.entries_count",
    "quantize.imatrix.chunks_count",
  ]
}
