import GraphIR
import OrderedCollections
import SafeIO

/// Attention whose keys and values come from a narrow vector that all heads share, with rotated columns of their own.
///
/// The graph makes full keys and values from it, and the cache holds these; rows of projections are put in the order that the
/// operations want: in each query head rotated columns first, all heads' keys before all heads' values.
/// Source: DeepSeek-V2 (arXiv 2405.04434), section 2.1.
struct LatentAttention: Equatable {
  /// Columns of the vector that queries come from; nil when they are projected at once.
  var queryRank: Int?
  /// Columns of the vector that keys and values come from.
  var rank: Int
  /// Columns of a query or key head that are not rotated.
  var plain: Int
  /// Columns of a query head that are rotated, and of the rotated key that all heads share.
  var rotated: Int
  /// Columns of a value head.
  var value: Int
  /// Normalization of the narrow vectors.
  var normalization = Decoder.Normalization.rootMeanSquare(epsilon: 1e-6, offset: 0)
}

extension Decoder {
  /// Reads the sizes of such an attention; the width of heads becomes that of keys.
  mutating func readLatentAttention(
    _ reader: inout ConfigurationReader, queryRank: Int?, rank: Int
  ) throws(ArchitectureError) {
    let columns = 1...1 << 14
    let givesRank = reader.has("q_lora_rank")
    let latent = LatentAttention(
      queryRank: try reader.optionalInteger("q_lora_rank", in: 1...1 << 20)
        ?? (givesRank ? nil : queryRank),
      rank: try reader.integer("kv_lora_rank", in: 1...1 << 20, default: rank),
      plain: try reader.integer("qk_nope_head_dim", in: columns, default: 128),
      rotated: try reader.integer("qk_rope_head_dim", in: columns, default: 64),
      value: try reader.integer("v_head_dim", in: columns, default: 128))
    try reader.require(
      "num_key_value_heads", among: [JSONValue(sizes.headCount)],
      otherwise: "every head has keys and values of its own")
    // Written beside the parts that they are made of; some tools mean the rotated part by the first.
    reader.ignore(["head_dim", "qk_head_dim"])
    sizes.headDimension = latent.plain + latent.rotated
    attention.scale = 1 / Double(sizes.headDimension).squareRoot()
    attention.latent = latent
    let settings = try RotarySettings(&reader, sizes: sizes)
    setRotary(try settings.embedding(headDimension: latent.rotated, reader))
    attention.scale *= settings.scoreFactor
  }
}

extension DecoderBuilder {
  /// Attention by way of narrow vectors.
  mutating func latentAttention(
    _ x: ValueID, _ latent: LatentAttention, layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let bias = decoder.attention.inputBias
    let q = try latentQueries(x, latent, layer)
    let narrow = try linear(
      x, inBlock(layer, "self_attn.kv_a_proj_with_mqa"), outputs: latent.rank + latent.rotated, bias: bias,
      name: "kva\(layer)")
    let shared = try rotated(
      slice(narrow, latent.rank, latent.rotated, name: "kp\(layer)"), 1, latent.rotated, layer,
      name: "kr\(layer)")
    let normalized = try normalize(
      slice(narrow, 0, latent.rank, name: "c\(layer)"), inBlock(layer, "self_attn.kv_a_layernorm"),
      latent.normalization, heads: 1, shape: [latent.rank], name: "cn\(layer)")
    let (keys, values) = (heads * latent.plain, heads * latent.value)
    let width = latent.plain + latent.value
    let both = try linear(
      normalized, inBlock(layer, "self_attn.kv_b_proj"), outputs: keys + values, bias: false,
      rows(0..<latent.plain, of: width, latent.plain..<width, isByHead: false), name: "kvb\(layer)")
    let k = try add(
      .joinHeads, [.value(shared), .value(slice(both, 0, keys, name: "kn\(layer)"))],
      ["heads": .int(heads), "shared": true], name: "k\(layer)")
    let attended = try add(
      .attention, [.value(q), .value(k), .value(slice(both, keys, values, name: "v\(layer)"))],
      [
        "heads": .int(heads), "kv_heads": .int(heads), "head_dim": .int(latent.plain + latent.rotated),
        "value_dim": .int(latent.value), "scale": .float(decoder.attention.scale), "cache": .int(layer),
      ], name: "a\(layer)")
    return try linear(
      attended, inBlock(layer, decoder.names.attention.output), outputs: decoder.sizes.hiddenSize,
      bias: decoder.attention.outputBias, name: "o\(layer)")
  }

  private mutating func latentQueries(
    _ x: ValueID, _ latent: LatentAttention, _ layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let width = latent.plain + latent.rotated
    var (source, name) = (x, "q_proj")
    if let rank = latent.queryRank {
      let narrow = try linear(
        x, inBlock(layer, "self_attn.q_a_proj"), outputs: rank, bias: decoder.attention.inputBias,
        name: "qa\(layer)")
      source = try normalize(
        narrow, inBlock(layer, "self_attn.q_a_layernorm"), latent.normalization, heads: 1, shape: [rank],
        name: "qan\(layer)")
      name = "q_b_proj"
    }
    let rotatedFirst = rows(latent.plain..<width, of: width, 0..<latent.plain, isByHead: true)
    let q = try linear(
      source, inBlock(layer, "self_attn." + name), outputs: heads * width, bias: false, rotatedFirst,
      name: "q\(layer)")
    return try rotated(q, heads, width, layer, name: "qr\(layer)")
  }

  /// Rows of two parts of heads of `width` rows: both parts of a head after each other, or one part of all heads after the other.
  private func rows(
    _ first: Range<Int>, of width: Int, _ second: Range<Int>, isByHead: Bool
  ) -> Rearrangement {
    var order: [Int] = []
    if isByHead {
      for head in 0..<heads { for row in Array(first) + Array(second) { order.append(head * width + row) } }
    } else {
      for part in [first, second] {
        for head in 0..<heads { for row in part { order.append(head * width + row) } }
      }
    }
    return .rows(order)
  }
}
