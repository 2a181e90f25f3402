import SafeIO

extension ModelFamily {
  /// Llama 1 to 3, and everything that calls itself LlamaForCausalLM.
  static let llama = decoder(
    name: "llama",
    summary:
      "Grouped-query attention with rotary positions, gated feed-forward, RMS normalization before each.",
    modelTypes: ["llama"], architectures: ["LlamaForCausalLM", "LLaMAForCausalLM"], gguf: .llama
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("llama", &reader)
    try decoder.readAttentionBias(&reader)
    decoder.feedForwardBias = try reader.bool("mlp_bias", default: false)
    decoder.attention.isInterleaved = try reader.bool("rope_interleaved", default: false)
    return decoder
  }
}
