extension ModelFamily {
  /// GLM-4 of 2025.
  static let glm4 = decoder(
    name: "glm4",
    summary: "RMS norms before and after each part, half-rotated heads with neighbouring pairs.",
    modelTypes: ["glm4"], architectures: ["Glm4ForCausalLM"], gguf: .glm4
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike(
      "glm4", &reader, epsilon: 1.5625e-7, rotary: .init(fraction: 0.5),
      keys: .init(defaultKVHeads: 2, defaultHeadDimension: 128))
    decoder.attention.inputBias = try reader.bool("attention_bias", default: true)
    decoder.attention.isInterleaved = true
    decoder.names.feedForward.fused = "mlp.gate_up_proj"
    decoder.names.afterAttentionNorm = "post_self_attn_layernorm"
    decoder.names.afterFeedForwardNorm = "post_mlp_layernorm"
    return decoder
  }

  /// GLM-4.5, GLM-4.6 and GLM-4.7.
  static let glm4MoE = decoder(
    name: "glm4-moe",
    summary: "Half-rotated heads, experts chosen by sigmoid scores with corrections, a shared expert.",
    modelTypes: ["glm4_moe"], architectures: ["Glm4MoeForCausalLM"], gguf: .glm4MoE
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike(
      "glm4-moe", &reader, epsilon: 1e-5, rotary: .init(fraction: 0.5), keys: .init(defaultKVHeads: 8))
    decoder.attention.inputBias = try reader.bool("attention_bias", default: false)
    if try reader.bool("use_qk_norm", default: false) { decoder.normalizeHeads() }
    try decoder.readSpareLayers(&reader)
    let experts = try Experts(
      &reader, sigmoidOf: try reader.integer("moe_intermediate_size", in: 1...1 << 22, default: 1408),
      count: 128, groups: 1, kept: 1)
    try decoder.setLateExperts(&reader, experts, shared: 1, dense: 1, factor: 1)
    return decoder
  }
}
