import SafeIO

extension ModelFamily {
  /// Falcon 7B, 40B, 180B and RW.
  static let falcon = decoder(
    name: "falcon",
    summary:
      "Fused projections with few key heads, parallel residual, rotary positions or biases by distance.",
    modelTypes: ["falcon", "RefinedWeb", "RefinedWebModel"],
    architectures: ["FalconForCausalLM", "RWForCausalLM"], gguf: .falcon
  ) { (reader) throws(ArchitectureError) in
    let isNew = try reader.bool("new_decoder_architecture", default: false)
    let isMultiQuery = try reader.bool("multi_query", default: true)
    reader.ignore(["num_kv_heads", "n_head_kv", "num_key_value_heads", "intermediate_size"])
    var keys = SizeKeys.falcon
    if !isNew { keys.kvHeads = nil }
    var decoder = Decoder("falcon", sizes: try ModelConfiguration(&reader, keys: keys))
    if !isNew, isMultiQuery { decoder.sizes.kvHeadCount = 1 }
    let inner = try reader.optionalInteger("ffn_hidden_size", in: 1...1 << 22)
    decoder.sizes.intermediateSize = inner ?? 4 * decoder.sizes.hiddenSize
    decoder.setFeedForwards(.plain(inner: decoder.sizes.intermediateSize))
    try decoder.readActivation(&reader, ["activation"], default: "gelu")
    decoder.normalization = .layer(
      epsilon: try reader.number("layer_norm_epsilon", in: 0...1, default: 1e-5), hasBias: true)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    try decoder.readAttentionBias(&reader, key: "bias")
    decoder.feedForwardBias = decoder.attention.outputBias
    try decoder.readFalconPositions(&reader)
    decoder.names = TensorNames(bloomRoot: "transformer.")
    try decoder.readFalconResidual(&reader, isNew: isNew)
    return decoder
  }
}

extension SizeKeys {
  static let falcon = SizeKeys(
    hidden: ["hidden_size", "n_embed"], intermediate: nil, layers: ["num_hidden_layers", "n_layer"],
    heads: ["num_attention_heads", "n_head"], kvHeads: ["num_kv_heads", "n_head_kv"], headDimension: nil)
}

extension Decoder {
  /// Rotary positions, or biases by distance, which Falcon scales together with the scores.
  fileprivate mutating func readFalconPositions(
    _ reader: inout ConfigurationReader
  ) throws(ArchitectureError) {
    guard try reader.bool("alibi", default: false) else { return try readRotary(&reader) }
    reader.ignore(["rope_theta", "rope_parameters"])
    attention.slopes = AttentionSettings.slopes(heads: sizes.headCount).map { $0 * Float(attention.scale) }
  }

  fileprivate mutating func readFalconResidual(
    _ reader: inout ConfigurationReader, isNew: Bool
  ) throws(ArchitectureError) {
    let isParallel = try reader.bool("parallel_attn", default: true)
    let normCount = try reader.optionalInteger("num_ln_in_parallel_attn", in: 1...2)
    guard isNew || isParallel else { return }
    if isNew, !isParallel {
      throw .unsupported(
        key: reader.path("parallel_attn"), found: "false", reason: "the newer Falcon is parallel always")
    }
    residual = .parallel
    let hasTwo = isNew && normCount ?? 2 == 2
    names.attentionNorm = hasTwo ? "ln_attn" : "input_layernorm"
    names.feedForwardNorm = hasTwo ? "ln_mlp" : nil
  }
}
