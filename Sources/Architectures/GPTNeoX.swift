extension ModelFamily {
  /// GPT-NeoX-20B, Pythia and their kin.
  static let gptNeoX = decoder(
    name: "gpt-neox",
    summary: "Parallel attention and feed-forward, layer normalization, partly rotated heads.",
    modelTypes: ["gpt_neox"], architectures: ["GPTNeoXForCausalLM"], gguf: .gptNeoX
  ) { (reader) throws(ArchitectureError) in
    var decoder = Decoder("gpt-neox", sizes: try ModelConfiguration(&reader, keys: .gptNeoX))
    try decoder.readActivation(&reader, ["hidden_act"], default: "gelu")
    decoder.normalization = .layer(
      epsilon: try reader.number("layer_norm_eps", in: 0...1, default: 1e-5), hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    try decoder.readAttentionBias(&reader, default: true)
    decoder.feedForwardBias = true
    try decoder.readRotary(
      &reader,
      .init(
        thetaKeys: ["rotary_emb_base", "rope_theta"], fraction: 0.25,
        fractionKeys: ["rotary_pct", "partial_rotary_factor"]))
    let isParallel = try reader.bool("use_parallel_residual", default: true)
    decoder.residual = isParallel ? .parallel : .sequential
    decoder.setFeedForwards(.plain(inner: decoder.sizes.intermediateSize))
    // Left over from other families' tools; the computation does not know it.
    reader.ignore(["num_key_value_heads"])
    decoder.names = .gptNeoX
    return decoder
  }
}

extension SizeKeys {
  static let gptNeoX = SizeKeys(kvHeads: nil, headDimension: nil)
}

extension TensorNames {
  fileprivate static var gptNeoX: TensorNames {
    var names = TensorNames()
    (names.root, names.embedding, names.finalNorm) = ("gpt_neox.", "embed_in", "final_layer_norm")
    names.head = "embed_out"
    names.attention.fused = "attention.query_key_value"
    names.attention.fusedOrder = .byKeyHead
    names.attention.output = "attention.dense"
    (names.feedForward.up, names.feedForward.down) = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    return names
  }
}
