extension ModelFamily {
  /// GLM-4 of 2025.
  static let glm4 = decoder(
    name: "glm4",
    summary: "RMS norms before and after each part, half-rotated heads with neighbouring pairs.",
    modelTypes: ["glm4"], architectures: ["Glm4ForCausalLM"]
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
}
