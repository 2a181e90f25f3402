import Glibc
import SafeIO

extension ModelFamily {
  /// BLOOM.
  static let bloom = decoder(
    name: "bloom",
    summary: "Biases by distance instead of positions, layer normalization of the embedding too.",
    modelTypes: ["bloom"], architectures: ["BloomForCausalLM"], gguf: .bloom
  ) { (reader) throws(ArchitectureError) in
    var decoder = Decoder("bloom", sizes: try ModelConfiguration(&reader, keys: .bloom))
    decoder.normalization = .layer(
      epsilon: try reader.number("layer_norm_epsilon", in: 0...1, default: 1e-5), hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    try reader.require(
      "apply_residual_connection_post_layernorm", among: [false],
      otherwise: "a stream that skips the norm is the only one that is computed")
    decoder.activation = .gelu(approximate: "tanh")
    decoder.attention.inputBias = true
    decoder.attention.outputBias = true
    decoder.attention.slopes = AttentionSettings.slopes(heads: decoder.sizes.headCount)
    decoder.feedForwardBias = true
    decoder.setFeedForwards(.plain(inner: 4 * decoder.sizes.hiddenSize))
    // Left over from other families' tools and from training; the computation does not know them.
    reader.ignore([
      "num_key_value_heads", "intermediate_size", "skip_bias_add", "skip_bias_add_qkv",
      "masked_softmax_fusion",
      "bias_dropout_fusion", "offset_alibi", "unk_token_id", "attention_softmax_in_fp32",
    ])
    decoder.names = TensorNames(bloomRoot: "transformer.")
    decoder.names.embeddingNorm = "word_embeddings_layernorm"
    return decoder
  }
}

extension SizeKeys {
  static let bloom = SizeKeys(
    hidden: ["hidden_size", "n_embed"], intermediate: nil, layers: ["n_layer", "num_hidden_layers"],
    heads: ["n_head", "num_attention_heads"], kvHeads: nil, headDimension: nil,
    context: ["seq_length", "max_position_embeddings"])
}

extension TensorNames {
  /// Names that BLOOM gave and Falcon took over.
  init(bloomRoot: String) {
    self.init()
    (root, embedding, layers, finalNorm) = (bloomRoot, "word_embeddings", "h.", "ln_f")
    attention.fused = "self_attention.query_key_value"
    attention.fusedOrder = .byKeyHead
    attention.output = "self_attention.dense"
    (feedForward.up, feedForward.down) = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
  }
}

extension AttentionSettings {
  /// Slopes of biases by distance: powers of 2^(-8/n) for the largest power of two n up to the number of heads, then every
  /// other power for 2n.
  ///
  /// Source: Press et al. 2021 (arXiv 2108.12409), section 3, and its published code for other numbers of heads.
  static func slopes(heads: Int) -> [Float] {
    let whole = 1 << (Int.bitWidth - 1 - heads.leadingZeroBitCount)
    func powers(_ count: Int, _ exponents: [Int]) -> [Float] {
      let base = Float(pow(2, -8 / Double(count)))
      return exponents.map { Float(pow(Double(base), Double($0))) }
    }
    let rest = min(whole, heads - whole)
    return powers(whole, Array(1...whole)) + powers(2 * whole, (0..<rest).map { 2 * $0 + 1 })
  }
}
