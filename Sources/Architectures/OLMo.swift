extension ModelFamily {
  /// OLMo.
  static let olmo = decoder(
    name: "olmo", summary: "Llama with layer norms without weights, and clipped queries, keys and values.",
    modelTypes: ["olmo"], architectures: ["OlmoForCausalLM"]
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
    modelTypes: ["olmo2"], architectures: ["Olmo2ForCausalLM"]
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("olmo2", &reader, epsilon: 1e-5)
    try decoder.readAttentionBias(&reader)
    decoder.attention.queryKeyNorm = .init(normalization: decoder.normalization, isByHead: false)
    decoder.names.attentionNorm = nil
    decoder.names.feedForwardNorm = nil
    decoder.names.afterAttentionNorm = "post_attention_layernorm"
    decoder.names.afterFeedForwardNorm = "post_feedforward_layernorm"
    return decoder
  }
}
