extension ModelFamily {
  /// Nemotron-3, Nemotron-4 and Minitron.
  static let nemotron = decoder(
    name: "nemotron",
    summary: "Layer norms that add one to their gains, squared ReLU without a gate, partly rotated heads.",
    modelTypes: ["nemotron"], architectures: ["NemotronForCausalLM"], gguf: .nemotron
  ) { (reader) throws(ArchitectureError) in
    let keys = SizeKeys(defaultContext: 4096)
    var decoder = Decoder("nemotron", sizes: try ModelConfiguration(&reader, keys: keys))
    try decoder.readActivation(&reader, ["hidden_act"], default: "relu2")
    decoder.normalization = .layer(
      epsilon: try reader.number("norm_eps", in: 0...1, default: 1e-5), hasBias: true, offset: 1)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    try decoder.readAttentionBias(&reader)
    decoder.feedForwardBias = try reader.bool("mlp_bias", default: false)
    try decoder.readRotary(&reader, .init(fraction: 0.5))
    decoder.setFeedForwards(.plain(inner: decoder.sizes.intermediateSize))
    return decoder
  }
}
