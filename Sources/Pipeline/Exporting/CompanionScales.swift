import Codecs
import OrderedCollections
import SafeIO
import TensorCore

/// Scales of activations and of the KV cache that a checkpoint has beside its weights, for a container to choose from.
///
/// Layouts have several names for them, and for NVFP4 compressed-tensors stores the inverse of what the others do: a container
/// asks for a scale by what it scales. What it does not take is not stored, and counted.
struct CompanionScales {
  /// What a container stores of them.
  struct Selection {
    /// Under the names that the container has.
    var tensors: OrderedDictionary<String, Tensor> = [:]
    /// Names in the source of those that were taken.
    var taken: Set<String> = []
  }

  /// A tensor and its name in the source.
  struct Entry {
    let name: String
    let tensor: Tensor
  }

  /// A scale of keys, values or queries.
  struct CacheEntry {
    /// Module of the attention.
    let attention: String
    /// `k`, `v` or `q`.
    let letter: String
    let entry: Entry
  }

  /// The model that has them.
  let source: LoadedModel
  /// Codecs of the weights as they will be stored; plain weights have none.
  let codecs: [String: any Codec]
  /// How keys and values are cached in the model as it will be stored.
  let cacheQuantization: CacheQuantization?
  private let activations: OrderedDictionary<String, InputQuantization>

  /// The scales of a model as it will be stored.
  init(_ model: ModelExport) {
    var codecs: [String: any Codec] = [:]
    for (name, weight) in model.weights {
      switch model.recodings?.entries[name] {
      case .dense: break
      case .bridge(let bridge): codecs[name] = bridge.target
      case .round(let codec, _): codecs[name] = codec
      case nil: if case .encoded(let matrix) = weight { codecs[name] = matrix.codec }
      }
    }
    self.init(
      source: model.source, codecs: codecs, activations: model.activations, cache: model.cache)
  }

  init(
    source: LoadedModel, codecs: [String: any Codec],
    activations: OrderedDictionary<String, InputQuantization> = [:], cache: CacheQuantization? = nil
  ) {
    (self.source, self.codecs, self.activations) = (source, codecs, activations)
    cacheQuantization = cache ?? source.cache
    let isReplaced = cacheQuantization != source.cache
    all =
      isReplaced
      ? source.companions.filter { name, tensor in
        Self.cachePlaces(name, Entry(name: name, tensor: tensor)).isEmpty
      } : source.companions
    self.isReplaced = isReplaced
  }

  /// Those of the source that are of the model as it will be stored, in the source's order.
  let all: OrderedDictionary<String, Tensor>
  /// Whether the model has another cache than the source, with scales of its own if it has any.
  let isReplaced: Bool

  /// Modules whose weights are stored quantized, with their codecs, in the model's order.
  var quantizedModules: [(name: String, codec: any Codec)] {
    codecs.keys.sorted().compactMap { name in
      guard name.hasSuffix(".weight"), let codec = codecs[name] else { return nil }
      return (String(name.dropLast(7)), codec)
    }
  }

  /// Whether the weight of a module is stored quantized.
  func isQuantized(_ module: String) -> Bool { codecs[module + ".weight"] != nil }

  /// Whether the source is of a layout, which says how names and configuration are meant.
  func isFrom(method: String) -> Bool {
    source.configuration["quantization_config"]?["quant_method"]?.stringValue == method
  }

  /// How the input of a module is quantized.
  func scheme(of module: String) -> ActivationScheme? { activations[module + ".weight"]?.scheme }

  // MARK: Inputs of modules

  /// The static scale of a module's inputs, which codes are multiplied by; one number.
  func input(of module: String) throws(TensorCoreError) -> Entry? {
    for part in ["input_scale", "activation_scale", "qscale_act"] {
      let name = "\(module).\(part)"
      if let tensor = all[name] { return Entry(name: name, tensor: tensor) }
    }
    let name = module + ".input_global_scale"
    guard let divisor = all[name] else {
      guard let scale = activations[module + ".weight"]?.scale else { return nil }
      return Entry(name: module + ".input_scale", tensor: try Tensor([scale], shape: [1]))
    }
    return Entry(name: name, tensor: try Self.inverse(divisor))
  }

  /// The inverse of ``input(of:)``, which compressed-tensors has for NVFP4.
  func inverseInput(of module: String) throws(TensorCoreError) -> Entry? {
    let name = module + ".input_global_scale"
    if let tensor = all[name] { return Entry(name: name, tensor: tensor) }
    guard let entry = try input(of: module) else { return nil }
    return Entry(name: entry.name, tensor: try Self.inverse(entry.tensor))
  }

  private static func inverse(_ tensor: Tensor) throws(TensorCoreError) -> Tensor {
    try Tensor(tensor.floats().map { 1 / $0 }, shape: [tensor.shape.elementCount])
  }

  // MARK: The cache

  /// Scales of an FP8 cache with one number each, whatever the source calls them.
  var cache: [CacheEntry] {
    if let format = cacheQuantization?.format, isReplaced {
      return format.keys == .fp8 && format.values == .fp8 ? newCache : []
    }
    guard hasFloatCache else { return [] }
    return all.flatMap { name, tensor in
      tensor.shape.elementCount == 1 ? Self.cachePlaces(name, Entry(name: name, tensor: tensor)) : []
    }
  }

  /// Static scales that the source does not have.
  var newCache: [CacheEntry] {
    guard let cacheQuantization, isReplaced else { return [] }
    let modules = source.graph.attentionModules
    return cacheQuantization.scales.sorted { $0.key < $1.key }.flatMap { layer, scales -> [CacheEntry] in
      guard let module = modules[layer] else { return [] }
      return [("k", scales.keys), ("v", scales.values)].compactMap { letter, values in
        guard !values.isEmpty,
          let tensor = try? Tensor(values, shape: values.count == 1 ? [1] : [values.count, 1, 1])
        else { return nil }
        let entry = Entry(name: "\(module).\(letter)_scale", tensor: tensor)
        return CacheEntry(attention: module, letter: letter, entry: entry)
      }
    }
  }

  /// Only compressed-tensors has caches of other types.
  private var hasFloatCache: Bool {
    guard let scheme = source.configuration["quantization_config"]?["kv_cache_scheme"], !scheme.isNull else {
      return true
    }
    let type = scheme["type"]?.stringValue ?? "float"
    return type == "float" && (scheme["num_bits"]?.intValue ?? 8) == 8
  }

  /// `a.k_scale`, `a.k_proj.k_scale` and `a.k_proj.output_scale` scale the keys of `a`; `a.kv_scale` keys and values.
  static func cachePlaces(_ name: String, _ entry: Entry) -> [CacheEntry] {
    let outer = ParameterName(name)
    let inner = ParameterName(outer.module)
    for letter in ["k", "v", "q"] {
      let isPart = outer.part == letter + "_scale"
      if inner.part == letter + "_proj", isPart || outer.part == "output_scale" {
        return [CacheEntry(attention: inner.module, letter: letter, entry: entry)]
      }
      if isPart { return [CacheEntry(attention: outer.module, letter: letter, entry: entry)] }
    }
    guard outer.part == "kv_scale" else { return [] }
    return ["k", "v"].map { CacheEntry(attention: outer.module, letter: $0, entry: entry) }
  }
}

extension CompanionScales.Selection {
  /// Takes a scale under a name.
  mutating func take(_ entry: CompanionScales.Entry, as name: String) {
    tensors[name] = entry.tensor
    taken.insert(entry.name)
  }

  /// Takes the scales of the cache as `a.k_scale`, as vLLM and compressed-tensors call them.
  mutating func takeCache(_ scales: CompanionScales) {
    for place in scales.isReplaced ? scales.newCache : scales.cache {
      take(place.entry, as: "\(place.attention).\(place.letter)_scale")
    }
  }
}

extension ModelContainer {
  /// A warning for scales of activations or of the KV cache that the container has no place for; nil when it stores all.
  /// - Throws: `TensorCoreError`.
  public func companionWarning(for model: ModelExport) throws -> String? {
    let scales = CompanionScales(model)
    let total = scales.all.count
    guard total > 0, name != ModelContainer.packed.name else { return nil }
    let taken = try companions(scales).taken
    let left = scales.all.keys.count { !taken.contains($0) }
    guard left > 0 else { return nil }
    return "\(left) of \(total) scales of activations or of the KV cache are not stored: "
      + "\(name) has no place for them"
  }
}
