extension ModelFamily {
  /// GPT-J.
  static let gptJ = decoder(
    name: "gptj",
    summary: "Parallel attention and feed-forward behind one layer norm, neighbouring rotary pairs.",
    modelTypes: ["gptj"], architectures: ["GPTJForCausalLM"]
  ) { (reader) throws(ArchitectureError) in
    let keys = SizeKeys(
      hidden: ["n_embd", "hidden_size"], intermediate: nil, layers: ["n_layer", "num_hidden_layers"],
      heads: ["n_head", "num_attention_heads"], kvHeads: nil, headDimension: nil,
      context: ["n_positions", "max_position_embeddings"])
    var decoder = Decoder("gptj", sizes: try ModelConfiguration(&reader, keys: keys))
    let inner = try reader.optionalInteger("n_inner", in: 1...1 << 22) ?? 4 * decoder.sizes.hiddenSize
    decoder.sizes.intermediateSize = inner
    decoder.setFeedForwards(.plain(inner: inner))
    try decoder.readActivation(&reader, ["activation_function"], default: "gelu_new")
    decoder.normalization = .layer(
      epsilon: try reader.number("layer_norm_epsilon", in: 0...1, default: 1e-5), hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    let dimension = try reader.integer("rotary_dim", in: 2...decoder.sizes.headDimension, default: 64)
    decoder.setRotary(RotaryEmbedding(theta: 10_000, dimension: dimension / 2 * 2, scaling: .none))
    decoder.attention.isInterleaved = true
    decoder.feedForwardBias = true
    decoder.headHasBias = true
    decoder.residual = .parallel
    // Left over from other families' tools and from training; the computation does not know them.
    reader.ignore([
      "num_key_value_heads", "intermediate_size", "rotary", "scale_attn_weights", "gradient_checkpointing",
    ])
    decoder.names = TensorNames(gpt2Root: "transformer.")
    decoder.names.positions = nil
    decoder.names.feedForwardNorm = nil
    decoder.names.attention = .init(
      query: "attn.q_proj", key: "attn.k_proj", value: "attn.v_proj", output: "attn.out_proj")
    (decoder.names.feedForward.up, decoder.names.feedForward.down) = ("mlp.fc_in", "mlp.fc_out")
    return decoder
  }
}
