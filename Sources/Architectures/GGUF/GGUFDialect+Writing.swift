import OrderedCollections
import SafeIO

/// What a GGUF file says of a model besides its weights and its vocabulary.
public struct GGUFDescription: Sendable {
  /// The value of `general.architecture`.
  public let architecture: String
  /// Entries under their full keys, in the order in which they are written.
  public internal(set) var metadata: OrderedDictionary<String, GGUFDialect.Field> = [:]
  /// Tensors of rotary factors by name.
  public internal(set) var rotaryTables: OrderedDictionary<String, [Float]> = [:]
  /// Whether the embedding has to be written once more as the head.
  public internal(set) var needsHead = false
  /// What llama.cpp would compute otherwise, or not load.
  public internal(set) var warnings: [String] = []
}

extension GGUFDialect {
  /// What a file says of a model, with the assurance that reading it gives the same model.
  /// - Parameters:
  ///   - configuration: the model's configuration, in Hugging Face's keys.
  ///   - weights: the model's tensors; those with places in the file count.
  /// - Throws: ``ArchitectureError`` naming what such files cannot express.
  public static func description(
    of configuration: JSONValue, weights: WeightCatalog
  ) throws(ArchitectureError) -> GGUFDescription {
    let (dialect, decoder) = try ModelFamily.dialect(of: configuration)
    let description = try dialect.description(of: decoder, weights: weights)
    try description.check(against: decoder, weights: weights, names: GGUFNames(dialect, decoder, weights))
    return description
  }

  private func description(
    of decoder: Decoder, weights: WeightCatalog
  ) throws(ArchitectureError) -> GGUFDescription {
    var result = GGUFDescription(architecture: architecture)
    try writeSizes(decoder, into: &result)
    writeWindows(decoder, into: &result)
    try writeExperts(decoder, into: &result)
    if let lateExperts { try writeLateExperts(lateExperts, decoder, into: &result) }
    for entry in entries {
      guard let field = entry.write(decoder) else { continue }
      result.metadata[architecture + "." + entry.name] = field
      if !entry.isComputedByPeer { result.warn("does not look at \(architecture).\(entry.name)") }
    }
    if let rotary { try writeRotary(rotary, decoder, into: &result) }
    result.needsHead = needsHead && decoder.isTied && weights[decoder.names.head + ".weight"] == nil
    for item in refusedByLoader(decoder) {
      result.warn("does not load files of architecture '\(architecture)' with \(item)")
    }
    for item in computedOtherwise(decoder) { result.warn(item) }
    let sizes = decoder.sizes
    if assumesFullHeads, sizes.headCount * sizes.headDimension != sizes.hiddenSize {
      result.warn(
        "does not load files of architecture '\(architecture)' whose heads are not as wide as the stream")
    }
    return result
  }

  private func writeSizes(
    _ decoder: Decoder, into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    let sizes = decoder.sizes
    for (key, value, name) in [
      ("block_count", sizes.layerCount, "num_hidden_layers"),
      ("context_length", sizes.contextLength, "max_position_embeddings"),
      ("embedding_length", sizes.hiddenSize, "hidden_size"),
      ("feed_forward_length", sizes.intermediateSize, "intermediate_size"),
      ("attention.head_count", sizes.headCount, "num_attention_heads"),
      ("attention.head_count_kv", sizes.kvHeadCount, "num_key_value_heads"),
    ] {
      result.metadata[architecture + "." + key] = try Self.count(value, name)
    }
    switch decoder.normalization {
    case .rootMeanSquare(let epsilon, _):
      result.metadata[architecture + ".attention.layer_norm_rms_epsilon"] = .float32(Float(epsilon))
    case .layer(let epsilon, _, _), .plainLayer(let epsilon):
      result.metadata[architecture + ".attention.layer_norm_epsilon"] = .float32(Float(epsilon))
    }
    for (key, value, name) in [
      ("vocab_size", sizes.vocabularySize, "vocab_size"),
      ("attention.key_length", sizes.headDimension, "head_dim"),
      ("attention.value_length", decoder.attention.latent?.value ?? sizes.headDimension, "head_dim"),
    ] {
      result.metadata[architecture + "." + key] = try Self.count(value, name)
    }
    if let latent = decoder.attention.latent { try writeLatentAttention(latent, into: &result) }
  }

  static func count(_ value: Int, _ key: String) throws(ArchitectureError) -> Field {
    guard let count = UInt32(exactly: value) else {
      throw .configuration(key: key, expected: "a number of 32 bits", found: "\(value)")
    }
    return .uint32(count)
  }

  private func writeWindows(_ decoder: Decoder, into result: inout GGUFDescription) {
    guard let windows else { return }
    let widest = decoder.windows.max() ?? 0
    guard let window = widest > 0 ? widest : windows.fallback else { return }
    let key = architecture + ".attention.sliding_window"
    result.metadata[key] = .uint32(UInt32(clamping: window))
    let sliding = decoder.windows.map { $0 > 0 }
    let implied = sliding.indices.map { layer in
      windows.period.map { !(layer + 1).isMultiple(of: $0) } ?? true
    }
    if sliding != implied { result.metadata[key + "_pattern"] = .bools(sliding) }
    if !windows.isComputedByPeer {
      result.warn(
        "attends to all tokens in files of architecture '\(architecture)', beyond the window of \(window)")
    }
  }

  private func writeExperts(
    _ decoder: Decoder, into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    guard let keys = experts else { return }
    let mixtures = decoder.feedForwards.compactMap { part -> Experts? in
      if case .experts(let experts) = part { experts } else { nil }
    }
    guard let experts = mixtures.first else {
      throw .unsupported(
        key: keys.count, found: "no layer with experts",
        reason: "GGUF files of architecture '\(architecture)' cannot say this")
    }
    let prefix = architecture + ".expert_"
    result.metadata[prefix + "count"] = try Self.count(experts.count, keys.count)
    result.metadata[prefix + "used_count"] = try Self.count(experts.chosen, "num_experts_per_tok")
    if let key = keys.inner {
      result.metadata[prefix + "feed_forward_length"] = try Self.count(experts.inner, key)
    }
    if let key = keys.sharedInner, let shared = experts.shared {
      result.metadata[prefix + "shared_feed_forward_length"] = try Self.count(shared.inner, key)
    }
    if keys.normalizationKey != nil, experts.isNormalized != keys.isNormalized {
      result.metadata[prefix + "weights_norm"] = .bool(experts.isNormalized)
      result.warn("does not look at \(prefix)weights_norm")
    }
    if mixtures.count < decoder.feedForwards.count {
      result.warn(
        "does not load files of architecture '\(architecture)' in which some layers have no experts")
    }
  }
}

extension GGUFDescription {
  mutating func warn(_ what: String) { warnings.append("llama.cpp \(what)") }

  /// Reads what was written and compares.
  fileprivate func check(
    against decoder: Decoder, weights: WeightCatalog, names: GGUFNames
  ) throws(ArchitectureError) {
    let stored = Set(weights.entries.keys.compactMap { names.storedPlace(ofCheckpoint: $0)?.name })
    let dialect = try GGUFDialect.dialect(architecture: architecture, metadata: json)
    let (configuration, _) = try dialect.configuration(
      from: json,
      contents: .init(
        embeddingRows: decoder.sizes.vocabularySize,
        rotaryTables: Dictionary(uniqueKeysWithValues: rotaryTables.map { ($0.key, $0.value) })
      ) { stored.contains($0) })
    let (_, read) = try ModelFamily.dialect(of: configuration)
    if let difference = decoder.difference(from: read) {
      throw .unsupported(
        key: difference.what, found: difference.found,
        reason: "GGUF files of architecture '\(architecture)' cannot say this")
    }
  }

  /// The entries as readers see them.
  private var json: JSONObject {
    var result = JSONObject()
    for (key, field) in metadata {
      result[key] =
        switch field {
        case .uint32(let value): JSONValue(Int(value))
        case .float32(let value): .number(Double("\(value)") ?? Double(value))
        case .bool(let value): .bool(value)
        case .string(let value): .string(value)
        case .bools(let values): .array(values.map { .bool($0) })
        }
    }
    return result
  }
}
