import SafeIO

extension ModelFamily {
  /// GPT-2 and its kin.
  static let gpt2 = decoder(
    name: "gpt2", summary: "Learned positions, layer normalization, biases; matrices stored [in, out].",
    modelTypes: ["gpt2"], architectures: ["GPT2LMHeadModel"], gguf: .gpt2
  ) { (reader) throws(ArchitectureError) in
    var decoder = Decoder("gpt2", sizes: try ModelConfiguration(&reader, keys: .gpt2))
    let inner = try reader.optionalInteger("n_inner", in: 1...1 << 22) ?? 4 * decoder.sizes.hiddenSize
    decoder.sizes.intermediateSize = inner
    decoder.setFeedForwards(.plain(inner: inner))
    try decoder.readActivation(&reader, ["activation_function"], default: "gelu_new")
    decoder.normalization = .layer(
      epsilon: try reader.number("layer_norm_epsilon", in: 0...1, default: 1e-5), hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    decoder.attention.inputBias = true
    decoder.attention.outputBias = true
    decoder.feedForwardBias = true
    decoder.storesTransposed = true
    if try !reader.bool("scale_attn_weights", default: true) { decoder.attention.scale = 1 }
    if try reader.bool("scale_attn_by_inverse_layer_idx", default: false) {
      decoder.attention.layerDivisors = (1...decoder.sizes.layerCount).map { Double($0) }
    }
    // Left over from other families' tools; the computation does not know them.
    reader.ignore(["num_key_value_heads", "intermediate_size"])
    decoder.names = TensorNames(gpt2Root: "transformer.")
    return decoder
  }
}

extension SizeKeys {
  static let gpt2 = SizeKeys(
    hidden: ["n_embd", "hidden_size"], intermediate: nil, layers: ["n_layer", "num_hidden_layers"],
    heads: ["n_head", "num_attention_heads"], kvHeads: nil, headDimension: nil,
    context: ["n_positions", "max_position_embeddings", "n_ctx"], defaultContext: 1024)
}

extension TensorNames {
  /// Names that GPT-2 gave and many took over.
  init(gpt2Root: String) {
    self.init()
    root = gpt2Root
    (embedding, positions, layers, finalNorm) = ("wte", "wpe", "h.", "ln_f")
    (attentionNorm, feedForwardNorm) = ("ln_1", "ln_2")
    attention.fused = "attn.c_attn"
    attention.output = "attn.c_proj"
    (feedForward.up, feedForward.down) = ("mlp.c_fc", "mlp.c_proj")
  }
}
