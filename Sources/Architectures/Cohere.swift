extension ModelFamily {
  /// Command R.
  static let cohere = decoder(
    name: "cohere",
    summary: "Parallel attention and feed-forward behind one layer norm, neighbouring rotary pairs.",
    modelTypes: ["cohere"], architectures: ["CohereForCausalLM"], gguf: .cohere
  ) { (reader) throws(ArchitectureError) in
    let keys = SizeKeys(defaultContext: 8192)
    var decoder = Decoder("cohere", sizes: try ModelConfiguration(&reader, keys: keys))
    try decoder.readActivation(&reader, ["hidden_act"], default: "silu")
    let epsilon = try reader.number("layer_norm_eps", in: 0...1, default: 1e-5)
    decoder.normalization = .layer(epsilon: epsilon, hasBias: false)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    decoder.logitScale = try reader.number("logit_scale", in: 1e-9...1e9, default: 0.0625)
    try decoder.readAttentionBias(&reader)
    try decoder.readRotary(&reader, .init(theta: 500_000))
    decoder.attention.isInterleaved = true
    if try reader.bool("use_qk_norm", default: false) {
      decoder.attention.queryKeyNorm = .init(
        normalization: decoder.normalization, isByHead: true, gains: .rowPerHead)
    }
    decoder.residual = .parallel
    decoder.names.feedForwardNorm = nil
    return decoder
  }
}
