import Codecs
import OrderedCollections
import SafeIO

/// What `hf_quant_config.json`, or `quantization_config` of `config.json`, says.
struct ModelOptConfiguration: Sendable {
  /// Names of algorithms whose tensors are read.
  static let algorithms: Set<String> = [
    "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "NVFP4_AWQ", "W4A16_AWQ", "INT4_AWQ",
    "W8A8_SQ_PER_CHANNEL", "W8A16", "W4A16", "MIXED_PRECISION",
  ]

  /// Columns that share a scale of integer codes; nil when the shapes must tell.
  let groupSize: Int?
  /// The algorithm of modules that are not named.
  let commonAlgorithm: String?
  /// The algorithm of the KV cache; nil for none.
  let cacheAlgorithm: String?
  /// Algorithms by module, where they differ.
  let layerAlgorithms: [String: String]

  /// - Throws: ``ModelOptError/configuration(key:problem:found:)``, ``ModelOptError/unsupported(form:reason:)``.
  init(_ value: JSONValue) throws(ModelOptError) {
    if let method = value["quant_method"]?.stringValue, !method.hasPrefix("modelopt") {
      throw .configuration(key: "quant_method", problem: "another quantization method", found: method)
    }
    let inner = value["quantization"] ?? value
    guard inner.objectValue != nil else {
      throw .configuration(key: "quantization", problem: "an object is needed", found: inner.serialized())
    }
    commonAlgorithm = inner["quant_algo"]?.stringValue
    var layerAlgorithms: [String: String] = [:]
    for (module, layer) in inner["quantized_layers"]?.objectValue ?? [:] {
      if let algorithm = layer["quant_algo"]?.stringValue { layerAlgorithms[module] = algorithm }
    }
    self.layerAlgorithms = layerAlgorithms
    let algorithms = [commonAlgorithm].compactMap { $0 } + layerAlgorithms.values.sorted()
    for algorithm in algorithms where !ModelOptConfiguration.algorithms.contains(algorithm) {
      throw .unsupported(
        form: "quant_algo \(algorithm)",
        reason: "what is read: " + ModelOptConfiguration.algorithms.sorted().joined(separator: ", "))
    }
    let scheme = inner["kv_cache_scheme"]
    let isFloat = scheme?["num_bits"]?.intValue == 8 && scheme?["type"]?.stringValue == "float"
    cacheAlgorithm =
      inner["kv_cache_quant_algo"]?.stringValue
      ?? (scheme.map(\.isNull) ?? true ? nil : isFloat ? "FP8" : scheme?.serialized())
    groupSize = inner["group_size"]?.intValue.flatMap { $0 > 0 ? $0 : nil }
  }
}

extension ModelOptLayout {
  /// `hf_quant_config.json` and the object `quantization_config` of `config.json`.
  ///
  /// - Parameters:
  ///   - ignored: linear modules that are not quantized.
  ///   - companions: names of scales of activations and of the KV cache that are stored beside the weights.
  /// - Throws: ``ModelOptError/unrepresentable(weight:encoding:reason:)`` when the weights do not share one algorithm.
  public static func configurations(
    for weights: OrderedDictionary<String, Weight>, ignored: [String],
    companions: some Sequence<String> = EmptyCollection()
  ) throws(ModelOptError) -> (file: JSONValue, member: JSONValue) {
    var common: String?
    for (name, weight) in weights {
      guard case .encoded(let matrix) = weight else { continue }
      _ = try module(of: name, matrix)
      let algorithm = algorithm(matrix)
      guard common ?? algorithm == algorithm else {
        throw .unrepresentable(
          weight: name, encoding: matrix.codec.canonicalName,
          reason: "all weights of a checkpoint are written by one algorithm")
      }
      common = algorithm
    }
    let hasCacheScales = companions.contains { ["k_scale", "v_scale"].contains(ParameterName($0).part) }
    let modules = JSONValue.array(ignored.map { .string($0) })
    let cache: JSONValue = hasCacheScales ? "FP8" : nil
    let producer: JSONValue = ["name": "modelopt", "version": "written by adze"]
    let algorithm = JSONValue.string(common ?? "FP8")
    var quantization: JSONObject = ["quant_algo": algorithm, "kv_cache_quant_algo": cache]
    if common == "NVFP4" { quantization["group_size"] = 16 }
    quantization["exclude_modules"] = modules
    var member: JSONObject = ["quant_method": "modelopt", "quant_algo": algorithm]
    if hasCacheScales { member["kv_cache_scheme"] = ["dynamic": false, "num_bits": 8, "type": "float"] }
    if common == "NVFP4" { member["group_size"] = 16 }
    member["kv_cache_quant_algo"] = cache
    member["ignore"] = modules
    member["exclude_modules"] = modules
    member["producer"] = producer
    return (["producer": producer, "quantization": .object(quantization)], .object(member))
  }
}
