extension ModelFamily {
  /// Granite 3.
  static let granite = decoder(
    name: "granite", summary: "Llama with multipliers on embedding, attention, residual stream and logits.",
    modelTypes: ["granite"], architectures: ["GraniteForCausalLM"], gguf: .granite
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("granite", &reader)
    try decoder.readAttentionBias(&reader)
    decoder.feedForwardBias = try reader.bool("mlp_bias", default: false)
    let range = 1e-9...1e9
    decoder.embeddingScale = try reader.number("embedding_multiplier", in: range, default: 1)
    decoder.residualScale = try reader.number("residual_multiplier", in: range, default: 1)
    decoder.attention.scale = try reader.number("attention_multiplier", in: range, default: 1)
    decoder.logitScale = 1 / (try reader.number("logits_scaling", in: range, default: 1))
    return decoder
  }
}
