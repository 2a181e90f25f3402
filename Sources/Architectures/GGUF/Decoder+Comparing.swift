import TensorCore

extension Decoder {
  /// What another decoder computes otherwise, by name, and what this one has there; nil when both compute the same up to
  /// the precision of float32. Names of tensors do not count, nor who has a head of its own, which tensors tell.
  func difference(from other: Decoder) -> (what: String, found: String)? {
    let sizes = [
      ("vocab_size", \ModelConfiguration.vocabularySize), ("hidden_size", \.hiddenSize),
      ("num_hidden_layers", \.layerCount), ("num_attention_heads", \.headCount),
      ("num_key_value_heads", \.kvHeadCount), ("head_dim", \.headDimension),
    ]
    for (what, size) in sizes where self.sizes[keyPath: size] != other.sizes[keyPath: size] {
      return (what, "\(self.sizes[keyPath: size])")
    }
    let numbers = [
      ("embedding scale", \Decoder.embeddingScale), ("residual scale", \.residualScale),
      ("logit scale", \.logitScale), ("final_logit_softcapping", \.logitSoftcap),
      ("attention scale", \.attention.scale), ("attn_logit_softcapping", \.attention.softcap),
    ]
    for (what, number) in numbers where !self[keyPath: number].isNear(other[keyPath: number]) {
      return (what, "\(self[keyPath: number])")
    }
    let flags = [
      ("bias of queries", \Decoder.attention.queryBias), ("bias of keys", \.attention.keyBias),
      ("bias of values", \.attention.valueBias), ("bias of attention's output", \.attention.outputBias),
      ("bias of feed-forwards", \.feedForwardBias), ("bias of the head", \.headHasBias),
    ]
    for (what, flag) in flags where self[keyPath: flag] != other[keyPath: flag] {
      return (what, "\(self[keyPath: flag])")
    }
    return differenceOfParts(from: other)
  }

  private func differenceOfParts(from other: Decoder) -> (what: String, found: String)? {
    if embeddingWidth != other.embeddingWidth { return ("width of the embedding", "\(embeddingWidth ?? 0)") }
    if attention.layerDivisors != other.attention.layerDivisors {
      return ("attention scale by layer", "\(attention.layerDivisors.prefix(4))")
    }
    if activation != other.activation { return ("activation", "\(activation)") }
    if residual != other.residual { return ("order of residual sums", "\(residual)") }
    if !normalization.isNear(other.normalization) { return ("normalization", "\(normalization)") }
    if !(attention.clip ?? 0).isNear(other.attention.clip ?? 0) {
      return ("clip_qkv", "\(attention.clip ?? 0)")
    }
    let (norm, second) = (attention.queryKeyNorm, other.attention.queryKeyNorm)
    if norm?.isByHead != second?.isByHead || norm?.gains != second?.gains
      || !(norm?.normalization.isNear(second?.normalization) ?? true)
    {
      return ("normalization of queries and keys", norm == nil ? "none" : "some")
    }
    if attention.hasSinks != other.attention.hasSinks { return ("attention sinks", "\(attention.hasSinks)") }
    if attention.latent != other.attention.latent {
      return ("narrow projections of attention", "\(String(describing: attention.latent))")
    }
    if attention.latent != nil, attention.isInterleaved != other.attention.isInterleaved {
      return ("rope_interleave", "\(attention.isInterleaved)")
    }
    let slopes = zip(attention.slopes, other.attention.slopes).allSatisfy { Double($0).isNear(Double($1)) }
    if attention.slopes.count != other.attention.slopes.count || !slopes {
      return ("biases by distance", "\(attention.slopes.prefix(4))")
    }
    if windows != other.windows { return ("windows of layers", "\(windows.prefix(8))") }
    if let layer = feedForwards.indices.first(where: { feedForwards[$0] != other.feedForwards[$0] }) {
      return ("feed-forward of layer \(layer)", "\(feedForwards[layer])")
    }
    if names.positions != nil,
      (positionCount ?? sizes.contextLength, positionOffset)
        != (other.positionCount ?? other.sizes.contextLength, other.positionOffset)
    {
      return ("learned positions", "\(positionCount ?? sizes.contextLength)")
    }
    return differenceOfRotary(from: other)
  }

  private func differenceOfRotary(from other: Decoder) -> (what: String, found: String)? {
    for layer in rotary.indices {
      let (mine, theirs) = (rotary[layer], other.rotary[layer])
      guard (mine == nil) == (theirs == nil) else {
        return ("rotary positions of layer \(layer)", mine == nil ? "none" : "some")
      }
      if let mine, let theirs, !mine.isNear(theirs) {
        return ("rotary positions of layer \(layer)", "base \(mine.theta), \(mine.dimension) columns")
      }
    }
    return nil
  }
}

extension Decoder.Normalization {
  fileprivate func isNear(_ other: Self?) -> Bool {
    switch (self, other) {
    case (.rootMeanSquare(let a, let b), .rootMeanSquare(let c, let d)): a.isNear(c) && b == d
    case (.layer(let a, let b, let offset), .layer(let c, let d, let other)):
      a.isNear(c) && b == d && offset == other
    case (.plainLayer(let a), .plainLayer(let b)): a.isNear(b)
    default: false
    }
  }
}

extension RotaryEmbedding {
  /// Frequencies may differ by what float32 factors make of them.
  fileprivate func isNear(_ other: RotaryEmbedding) -> Bool {
    func near(_ a: [Float]?, _ b: [Float]?) -> Bool {
      a?.count == b?.count && zip(a ?? [], b ?? []).allSatisfy { abs($0 - $1) <= 1e-5 * abs($0) }
    }
    // Long frequencies that are the same as the short ones make no difference.
    let long = near(longFrequencies, inverseFrequencies) ? nil : longFrequencies
    let otherLong = near(other.longFrequencies, other.inverseFrequencies) ? nil : other.longFrequencies
    return dimension == other.dimension && theta.isNear(other.theta) && magnitude.isNear(other.magnitude)
      && near(inverseFrequencies, other.inverseFrequencies) && near(long, otherLong)
      && growth.isNear(other.growth) && (context == other.context || (long == nil && growth == 0))
  }
}

extension Double {
  /// Whether float32 holds the same number but for a few of its last bits.
  fileprivate func isNear(_ other: Double) -> Bool {
    abs(self - other) <= 1e-6 * Swift.max(abs(self), abs(other))
  }
}
