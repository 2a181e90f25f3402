extension Experts {
  /// Reads how many experts there are and how many a token goes to.
  init(
    _ reader: inout ConfigurationReader, inner: Int, countKeys: [String], defaultCount: Int,
    defaultChosen: Int
  ) throws(ArchitectureError) {
    try reader.requireAgreement(countKeys)
    let count = try reader.integer(reader.key(among: countKeys), in: 1...4096, default: defaultCount)
    self.init(
      count: count,
      chosen: try reader.integer("num_experts_per_tok", in: 1...count, default: min(defaultChosen, count)),
      inner: inner)
  }
}

extension Decoder {
  /// Layers of experts among plain ones, as Qwen's configurations give them: every `decoder_sparse_step`-th layer but
  /// those in `mlp_only_layers`.
  mutating func setSparseFeedForwards(
    _ reader: inout ConfigurationReader, _ experts: Experts
  ) throws(ArchitectureError) {
    let step = try reader.integer("decoder_sparse_step", in: 1...10_000, default: 1)
    let dense = Set(try reader.optionalIntegers("mlp_only_layers", in: 0...10_000) ?? [])
    for layer in 0..<sizes.layerCount where !dense.contains(layer) && (layer + 1).isMultiple(of: step) {
      feedForwards[layer] = .experts(experts)
    }
  }
}
