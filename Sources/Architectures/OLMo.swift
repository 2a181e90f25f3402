extension ModelFamily {
  /// OLMo.
  static let olmo = decoder(
    name: "olmo", summary: "Llama with layer norms without weights, and clipped queries, keys and values.",
    modelTypes: ["olmo"], architectures: ["OlmoForCausalLM"], gguf: .olmo
  ) { (reader) throws(ArchitectureError) in
    var decoder = Decoder("olmo", sizes: try ModelConfiguration(&reader))
    try decoder.readActivation(&reader, ["hidden_act"], default: "silu")
    decoder.normalization = .plainLayer(epsilon: 1e-5)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    try decoder.readAttentionBias(&reader)
    try decoder.readRotary(&reader)
    decoder.attention.clip = try reader.optionalNumber("clip_qkv", in: 1e-9...1e9)
    return decoder
  }

  /// OLMo 2.
  static let olmo2 = decoder(
    name: "olmo2",
    summary:
      "RMS normalization after attention and feed-forward instead of before, and of all queries and keys.",
    modelTypes: ["olmo2"], architectures: ["Olmo2ForCausalLM"], gguf: .olmo2
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("olmo2", &reader, epsilon: 1e-5)
    try decoder.readAttentionBias(&reader)
    decoder.normalizeAfterwards()
    return decoder
  }

  /// OLMo 3.
  static let olmo3 = decoder(
    name: "olmo3", summary: "OLMo 2 with windows on three of four layers, whose positions are not scaled.",
    modelTypes: ["olmo3"], architectures: ["Olmo3ForCausalLM"], gguf: .olmo3
  ) { (reader) throws(ArchitectureError) in
    var full = RotarySettings.Defaults(theta: 500_000)
    full.layerType = "full_attention"
    var decoder = try Decoder.llamaLike("olmo3", &reader, epsilon: 1e-5, rotary: full)
    try decoder.readAttentionBias(&reader)
    decoder.normalizeAfterwards()
    let window = try Decoder.window(&reader, fallback: 4096)
    let sliding = try decoder.readLayerWindows(&reader, window: window) { !($0 + 1).isMultiple(of: 4) }
    let rotary = decoder.rotary
    try decoder.readRotary(
      &reader, .init(theta: 500_000, layerType: "sliding_attention", isScaled: false))
    for layer in sliding.indices where !sliding[layer] { decoder.rotary[layer] = rotary[layer] }
    return decoder
  }
}

extension ModelFamily {
  /// OLMoE.
  static let olmoe = decoder(
    name: "olmoe",
    summary: "Experts in every layer, RMS normalization of all queries and keys, which may then be clipped.",
    modelTypes: ["olmoe"], architectures: ["OlmoeForCausalLM"], gguf: .olmoe
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("olmoe", &reader, epsilon: 1e-5, keys: .init(defaultContext: 4096))
    try decoder.readAttentionBias(&reader)
    decoder.attention.queryKeyNorm = .init(normalization: decoder.normalization, isByHead: false)
    decoder.attention.clip = try reader.optionalNumber("clip_qkv", in: 1e-9...1e9)
    var experts = try Experts(
      &reader, inner: decoder.sizes.intermediateSize, countKeys: ["num_experts", "num_local_experts"],
      defaultCount: 64, defaultChosen: 8)
    experts.isNormalized = try reader.bool("norm_topk_prob", default: false)
    decoder.setFeedForwards(.experts(experts))
    return decoder
  }
}

extension Decoder {
  /// Norms after attention and feed-forward instead of before, and of all queries and all keys.
  fileprivate mutating func normalizeAfterwards() {
    attention.queryKeyNorm = .init(normalization: normalization, isByHead: false)
    names.attentionNorm = nil
    names.feedForwardNorm = nil
    names.afterAttentionNorm = "post_attention_layernorm"
    names.afterFeedForwardNorm = "post_feedforward_layernorm"
  }
}
