import SafeIO

extension ModelFamily {
  /// OPT.
  static let opt = decoder(
    name: "opt", summary: "Learned positions that begin at row 2, layer normalization, biases, ReLU.",
    modelTypes: ["opt"], architectures: ["OPTForCausalLM"]
  ) { (reader) throws(ArchitectureError) in
    let keys = SizeKeys(intermediate: ["ffn_dim"], kvHeads: nil, headDimension: nil)
    var decoder = Decoder("opt", sizes: try ModelConfiguration(&reader, keys: keys))
    let width = try reader.optionalInteger("word_embed_proj_dim", in: 1...1 << 20)
    if let width, width != decoder.sizes.hiddenSize { decoder.embeddingWidth = width }
    try decoder.readActivation(&reader, ["activation_function"], default: "relu")
    try reader.require(
      "layer_norm_elementwise_affine", among: [true], otherwise: "norms without gains are not computed")
    decoder.normalization = .layer(epsilon: 1e-5, hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    try decoder.readAttentionBias(&reader, key: "enable_bias", default: true)
    decoder.feedForwardBias = decoder.attention.outputBias
    decoder.setFeedForwards(.plain(inner: decoder.sizes.intermediateSize))
    decoder.positionOffset = 2
    decoder.positionCount = decoder.sizes.contextLength + 2
    let isBefore = try reader.bool("do_layer_norm_before", default: true)
    decoder.residual = isBefore ? .sequential : .normalizedSums
    let lacksFinalNorm = try reader.bool("_remove_final_layer_norm", default: false)
    decoder.names = .opt
    if !isBefore || lacksFinalNorm { decoder.names.finalNorm = nil }
    // Left over from other families' tools; the computation does not know them.
    reader.ignore(["num_key_value_heads", "intermediate_size"])
    return decoder
  }
}

extension TensorNames {
  fileprivate static var opt: TensorNames {
    var names = TensorNames()
    (names.root, names.positions) = ("model.decoder.", "embed_positions")
    names.finalNorm = "final_layer_norm"
    (names.attentionNorm, names.feedForwardNorm) = ("self_attn_layer_norm", "final_layer_norm")
    names.attention.output = "self_attn.out_proj"
    (names.feedForward.up, names.feedForward.down) = ("fc1", "fc2")
    return names
  }
}
