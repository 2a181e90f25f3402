extension ModelFamily {
  /// StarCoder2.
  static let starCoder2 = decoder(
    name: "starcoder2",
    summary: "Layer normalization, biases and a plain feed-forward, with rotary positions.",
    modelTypes: ["starcoder2"], architectures: ["Starcoder2ForCausalLM"], gguf: .starCoder2
  ) { (reader) throws(ArchitectureError) in
    let keys = SizeKeys(defaultContext: 4096, defaultKVHeads: 2)
    var decoder = Decoder("starcoder2", sizes: try ModelConfiguration(&reader, keys: keys))
    try decoder.readActivation(&reader, ["hidden_act"], default: "gelu_pytorch_tanh")
    decoder.normalization = .layer(
      epsilon: try reader.number("norm_epsilon", in: 0...1, default: 1e-5), hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    try decoder.readAttentionBias(&reader, key: "use_bias", default: true)
    decoder.feedForwardBias = decoder.attention.outputBias
    try decoder.readRotary(&reader)
    try decoder.readWindow(&reader)
    decoder.setFeedForwards(.plain(inner: decoder.sizes.intermediateSize))
    (decoder.names.feedForward.up, decoder.names.feedForward.down) = ("mlp.c_fc", "mlp.c_proj")
    return decoder
  }
}
