extension ModelFamily {
  /// StableLM 3B and StableLM 2.
  static let stableLM = decoder(
    name: "stablelm", summary: "Layer normalization, partly rotated heads, a gated feed-forward.",
    modelTypes: ["stablelm", "stablelm_epoch"],
    architectures: ["StableLmForCausalLM", "StableLMEpochForCausalLM"], gguf: .stableLM
  ) { (reader) throws(ArchitectureError) in
    var decoder = Decoder("stablelm", sizes: try ModelConfiguration(&reader, keys: .stableLM))
    try decoder.readActivation(&reader, ["hidden_act"], default: "silu")
    let epsilon = try reader.number(
      reader.key(among: ["layer_norm_eps", "norm_eps"]), in: 0...1, default: 1e-5)
    decoder.normalization = .layer(epsilon: epsilon, hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    decoder.attention.inputBias = try reader.bool("use_qkv_bias", default: false)
    try decoder.readRotary(
      &reader, .init(fraction: 0.25, fractionKeys: ["partial_rotary_factor", "rope_pct", "rotary_pct"]))
    if try reader.bool("qk_layernorm", default: false) {
      decoder.attention.queryKeyNorm = .init(
        normalization: .layer(epsilon: epsilon, hasBias: false), isByHead: true, gains: .tensorPerHead)
      decoder.names.attention.queryNorm = "self_attn.q_layernorm"
      decoder.names.attention.keyNorm = "self_attn.k_layernorm"
    }
    if try reader.bool("use_parallel_residual", default: false) {
      decoder.residual = .parallel
      decoder.names.feedForwardNorm = nil
    }
    return decoder
  }
}

extension SizeKeys {
  static let stableLM = SizeKeys(headDimension: nil, defaultContext: 4096, defaultKVHeads: 32)
}
