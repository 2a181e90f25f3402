import GraphIR
import OrderedCollections

extension DecoderBuilder {
  var heads: Int { decoder.sizes.headCount }
  private var keyHeads: Int { decoder.sizes.kvHeadCount }
  private var width: Int { decoder.sizes.headDimension }

  /// Attention with its projections; `layer` numbers names and the cache.
  mutating func attention(_ x: ValueID, layer: Int) throws(ArchitectureError) -> ValueID {
    if let latent = decoder.attention.latent { return try latentAttention(x, latent, layer: layer) }
    let settings = decoder.attention
    let names = decoder.names.attention
    var (q, k, v) = try queriesKeysValues(x, layer)
    if let norm = settings.queryKeyNorm {
      q = try normalizedHeads(q, norm, inBlock(layer, names.queryNorm), heads, name: "qn\(layer)")
      k = try normalizedHeads(k, norm, inBlock(layer, names.keyNorm), keyHeads, name: "kn\(layer)")
    }
    if let clip = settings.clip {
      q = try clipped(q, clip, name: "qc\(layer)")
      k = try clipped(k, clip, name: "kc\(layer)")
      v = try clipped(v, clip, name: "vc\(layer)")
    }
    q = try rotated(q, heads, width, layer, name: "qr\(layer)")
    k = try rotated(k, keyHeads, width, layer, name: "kr\(layer)")
    var operands = [Operand.value(q), .value(k), .value(v)]
    if !settings.slopes.isEmpty || settings.hasSinks {
      let slopes = settings.slopes.isEmpty ? [Float](repeating: 0, count: heads) : settings.slopes
      operands.append(try derivedConstant("attention.slopes", slopes))
    }
    if settings.hasSinks { operands.append(try weight(inBlock(layer, names.sinks), [heads])) }
    let attended = try add(
      .attention, operands,
      [
        "heads": .int(heads), "kv_heads": .int(keyHeads), "head_dim": .int(width),
        "scale": .float(settings.scale(layer: layer)), "window": .int(decoder.windows[layer]),
        "softcap": .float(settings.softcap), "cache": .int(layer),
      ], name: "a\(layer)")
    return try linear(
      attended, inBlock(layer, names.output), outputs: decoder.sizes.hiddenSize, bias: settings.outputBias,
      name: "o\(layer)")
  }

  private mutating func queriesKeysValues(
    _ x: ValueID, _ layer: Int
  ) throws(ArchitectureError) -> (q: ValueID, k: ValueID, v: ValueID) {
    let settings = decoder.attention
    let names = decoder.names.attention
    let (queries, keys) = (heads * width, keyHeads * width)
    guard let fused = names.fused else {
      return (
        try linear(
          x, inBlock(layer, names.query), outputs: queries, bias: settings.queryBias, name: "q\(layer)"),
        try linear(x, inBlock(layer, names.key), outputs: keys, bias: settings.keyBias, name: "k\(layer)"),
        try linear(
          x, inBlock(layer, names.value), outputs: keys, bias: settings.valueBias, name: "v\(layer)")
      )
    }
    let all = try linear(
      x, inBlock(layer, fused), outputs: queries + 2 * keys, bias: settings.inputBias, fusedRows,
      name: "qkv\(layer)")
    return (
      try slice(all, 0, queries, name: "q\(layer)"), try slice(all, queries, keys, name: "k\(layer)"),
      try slice(all, queries + keys, keys, name: "v\(layer)")
    )
  }

  /// Puts the rows of a fused projection in the order queries, keys, values.
  private var fusedRows: Rearrangement? {
    guard decoder.names.attention.fusedOrder == .byKeyHead else { return nil }
    let group = heads / keyHeads
    let places = (0..<keyHeads).map { $0 * (group + 2) }
    let order =
      places.flatMap { place in (0..<group).map { place + $0 } } + places.map { $0 + group }
      + places.map { $0 + group + 1 }
    return .rows(order.flatMap { head in head * width..<(head + 1) * width })
  }

  private mutating func clipped(
    _ x: ValueID, _ limit: Double, name: String
  ) throws(ArchitectureError) -> ValueID {
    try add(.clamp, [.value(x)], ["minimum": .float(-limit), "maximum": .float(limit)], name: name)
  }

  private mutating func normalizedHeads(
    _ x: ValueID, _ norm: AttentionSettings.QueryKeyNorm, _ prefix: String, _ heads: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    guard norm.isByHead else {
      return try normalize(x, prefix, norm.normalization, heads: 1, shape: [heads * width], name: name)
    }
    switch norm.gains {
    case .shared:
      return try normalize(x, prefix, norm.normalization, heads: heads, shape: [width], name: name)
    case .rowPerHead:
      return try normalize(x, prefix, norm.normalization, heads: heads, shape: [heads, width], name: name)
    case .tensorPerHead:
      return try normalize(x, norm.normalization, gainsOfHeads: prefix, heads: heads, name: name)
    }
  }

  /// Heads of `width` columns after rotation.
  mutating func rotated(
    _ x: ValueID, _ heads: Int, _ width: Int, _ layer: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    guard let rotary = decoder.rotary[layer] else { return x }
    var operands = [Operand.value(x), .value(positions)]
    operands.append(try frequencies(rotary.inverseFrequencies, rotary))
    if let long = rotary.longFrequencies { operands.append(try frequencies(long, rotary, suffix: ".long")) }
    return try add(
      .rope, operands,
      [
        "heads": .int(heads), "head_dim": .int(width), "interleaved": .bool(decoder.attention.isInterleaved),
        "magnitude": .float(rotary.magnitude), "context": .int(rotary.context),
        "growth": .float(rotary.growth), "theta": .float(rotary.growth > 0 ? rotary.theta : 10_000),
      ], name: name)
  }

  /// The constant of a table; tables of several kinds of layers are numbered in the order of the layers.
  private mutating func frequencies(
    _ values: [Float], _ rotary: RotaryEmbedding, suffix: String = ""
  ) throws(ArchitectureError) -> Operand {
    var kinds: [RotaryEmbedding] = []
    for case .some(let kind) in decoder.rotary where !kinds.contains(kind) { kinds.append(kind) }
    let number = kinds.firstIndex(of: rotary) ?? 0
    let name = "rope.inverse_frequencies" + (number == 0 ? "" : ".\(number)") + suffix
    return try derivedConstant(name, values)
  }
}
