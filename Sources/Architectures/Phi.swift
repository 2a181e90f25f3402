extension ModelFamily {
  /// Phi-1, Phi-1.5 and Phi-2.
  static let phi = decoder(
    name: "phi",
    summary: "Parallel attention and feed-forward behind one layer norm, biases, partly rotated heads.",
    modelTypes: ["phi"], architectures: ["PhiForCausalLM"], gguf: .phi
  ) { (reader) throws(ArchitectureError) in
    var decoder = Decoder("phi", sizes: try ModelConfiguration(&reader))
    try decoder.readActivation(&reader, ["hidden_act"], default: "gelu_new")
    let epsilon = try reader.number("layer_norm_eps", in: 0...1, default: 1e-5)
    decoder.normalization = .layer(epsilon: epsilon, hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    decoder.attention.inputBias = true
    decoder.attention.outputBias = true
    decoder.feedForwardBias = true
    decoder.headHasBias = true
    try decoder.readRotary(&reader, .init(fraction: 0.5))
    if try reader.bool("qk_layernorm", default: false) {
      decoder.attention.queryKeyNorm = .init(
        normalization: .layer(epsilon: epsilon, hasBias: true), isByHead: true)
    }
    decoder.residual = .parallel
    decoder.setFeedForwards(.plain(inner: decoder.sizes.intermediateSize))
    decoder.names.finalNorm = "final_layernorm"
    decoder.names.feedForwardNorm = nil
    decoder.names.attention.output = "self_attn.dense"
    decoder.names.attention.queryNorm = "self_attn.q_layernorm"
    decoder.names.attention.keyNorm = "self_attn.k_layernorm"
    (decoder.names.feedForward.up, decoder.names.feedForward.down) = ("mlp.fc1", "mlp.fc2")
    return decoder
  }

  /// Phi-3, Phi-3.5 and Phi-4.
  static let phi3 = decoder(
    name: "phi3", summary: "Llama with fused projections and rotary factors for long contexts.",
    modelTypes: ["phi3"], architectures: ["Phi3ForCausalLM"], gguf: .phi3
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike(
      "phi3", &reader, epsilon: 1e-5, rotary: .init(originalContext: 4096))
    decoder.names.attention.fused = "self_attn.qkv_proj"
    decoder.names.feedForward.fused = "mlp.gate_up_proj"
    try decoder.readWindow(&reader)
    return decoder
  }
}
