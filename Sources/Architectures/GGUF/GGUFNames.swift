import SafeIO

/// What has to be done to a tensor between a checkpoint and a GGUF file.
public enum GGUFTransform: Sendable, Equatable {
  /// Nothing.
  case none
  /// Rows of this many heads lie in the order of rotary pairs in the file, and in halves in the checkpoint.
  case rotaryRows(headCount: Int)
  /// Row `i` of the file is row `order[i]` of the weight; a permutation.
  case rows([Int])
  /// The file's tensor holds, for each head, the rows of a projection that make keys (`isTransposed`) or values; the weight has
  /// those of all keys, then those of all values.
  case headRows(isTransposed: Bool)
  /// The file's tensor is part of a fused projection: of queries (0), keys (1) or values (2), whose rows follow one another.
  case fusedPart(Int)
  /// The file's tensor holds tensors of this rank one after the other, those of experts or heads; the checkpoint's name
  /// has `@` for their number.
  case stacked(rank: Int)
  /// The file's values are the checkpoint's plus this number.
  case shifted(Float)
  /// The file's tensor is a vector, the checkpoint's a matrix of one row.
  case row

  /// The checkpoint's row of each row of the file.
  ///
  /// Row `head * width + 2 j + t` of the file is row `head * width + t * width / 2 + j` of the checkpoint.
  /// - Returns: nil when rows stay where they are, or when `rows` are not such heads.
  public func checkpointRows(count rows: Int) -> [Int]? {
    if case .rows(let order) = self { return order.count == rows ? order : nil }
    guard case .rotaryRows(let heads) = self, heads > 0, rows % (2 * heads) == 0 else { return nil }
    let half = rows / heads / 2
    return (0..<rows).map { row in
      let (head, place) = (row / (2 * half), row % (2 * half))
      return head * 2 * half + place % 2 * half + place / 2
    }
  }

  /// The file's row of each row of the checkpoint; the inverse of ``checkpointRows(count:)``.
  public func storedRows(count rows: Int) -> [Int]? {
    if case .rows(let order) = self {
      guard order.count == rows else { return nil }
      var inverse = order
      for (stored, row) in order.enumerated() { inverse[row] = stored }
      return inverse
    }
    guard case .rotaryRows(let heads) = self, heads > 0, rows % (2 * heads) == 0 else { return nil }
    let half = rows / heads / 2
    return (0..<rows).map { row in
      let (head, place) = (row / (2 * half), row % (2 * half))
      return head * 2 * half + place % half * 2 + place / half
    }
  }
}

/// A tensor's name on the other side, and what is done to it on the way.
public struct GGUFPlace: Sendable, Equatable {
  /// The name; of stacked tensors in the checkpoint with `@` for their number.
  public let name: String
  /// What is done.
  public let transform: GGUFTransform
  /// The number of a stacked tensor.
  public var index: Int?
  /// The rows of the file's tensor that the checkpoint's is made of, of each one when it is stacked; nil for all.
  public var rows: Range<Int>?
}

/// Tensor names of one model on both sides.
public struct GGUFNames: Sendable {
  private let rows: [Row]
  /// Blocks behind the model's layers that files may hold and logits do not need.
  private let spareLayers: Range<Int>

  /// A tensor's name on both sides without `.weight` or `.bias`; `#` stands for the number of the layer, `@` for that of
  /// an expert or head.
  private struct Row {
    let stored: Pattern
    let checkpoint: Pattern
    let transform: GGUFTransform
    /// Rows of the stored tensor; nil for all.
    let rows: Range<Int>?
    /// Whether the names go to their ends, as what follows the last dot is not the same on both sides.
    let isWhole: Bool

    init(
      stored: String, checkpoint: String, transform: GGUFTransform, rows: Range<Int>? = nil,
      isWhole: Bool = false
    ) {
      self.stored = Pattern(stored)
      self.checkpoint = Pattern(checkpoint)
      self.transform = transform
      self.rows = rows
      self.isWhole = isWhole
    }
  }

  /// The names for a model of this configuration.
  /// - Parameter weights: the checkpoint, whose names may lack the prefix of the head's class.
  /// - Throws: ``ArchitectureError``, also for families that are not written as GGUF.
  public init(configuration: JSONValue, weights: WeightCatalog? = nil) throws(ArchitectureError) {
    let (dialect, decoder) = try ModelFamily.dialect(of: configuration)
    self.init(dialect, decoder, weights)
  }

  init(_ dialect: GGUFDialect, _ decoder: Decoder, _ weights: WeightCatalog?) {
    var decoder = decoder
    if let weights { decoder.names = decoder.names(in: weights) }
    let renamed = dialect.renamed(decoder)
    let layers = decoder.sizes.layerCount
    spareLayers = layers..<layers + decoder.spareLayers
    rows =
      Self.outside(decoder)
      + Self.inBlocks(decoder, dialect).map { row in
        let name = renamed[row.stored.text] ?? row.stored.text
        return Row(
          stored: "blk.#." + name,
          checkpoint: decoder.names.root + decoder.names.layers + "#." + row.checkpoint.text,
          transform: row.transform, rows: row.rows, isWhole: row.isWhole)
      }
  }

  /// Whether a tensor of a file belongs to a block behind the model's layers.
  public func isSpare(stored name: String) -> Bool {
    guard name.hasPrefix("blk."), let number = name.split(separator: ".").dropFirst().first else {
      return false
    }
    return Int(number).map(spareLayers.contains) ?? false
  }

  private static func outside(_ decoder: Decoder) -> [Row] {
    let names = decoder.names
    let norm = normTransform(decoder)
    var rows = [
      Row(stored: "token_embd", checkpoint: names.root + names.embedding, transform: .none),
      Row(stored: "output", checkpoint: names.head, transform: .none),
    ]
    for (stored, name, transform) in [
      ("position_embd", names.positions, .none), ("token_embd_norm", names.embeddingNorm, norm),
      ("output_norm", names.finalNorm, norm),
    ] {
      if let name { rows.append(Row(stored: stored, checkpoint: names.root + name, transform: transform)) }
    }
    return rows
  }

  /// Files hold what norms multiply with; what is added is the same on both sides.
  private static func normTransform(_ decoder: Decoder) -> GGUFTransform {
    switch decoder.normalization {
    case .rootMeanSquare(_, let offset) where offset != 0, .layer(_, _, let offset) where offset != 0:
      .shifted(Float(offset))
    default: .none
    }
  }

  /// Names below the prefixes of blocks.
  private static func inBlocks(_ decoder: Decoder, _ dialect: GGUFDialect) -> [Row] {
    let names = decoder.names
    let norm = normTransform(decoder)
    var rows: [Row] = []
    func add(_ stored: String, _ name: String?, _ transform: GGUFTransform = .none) {
      if let name { rows.append(Row(stored: stored, checkpoint: name, transform: transform)) }
    }
    add("attn_norm", names.attentionNorm, norm)
    add("post_attention_norm", names.afterAttentionNorm, norm)
    add("ffn_norm", names.feedForwardNorm, norm)
    add("post_ffw_norm", names.afterFeedForwardNorm, norm)
    if let latent = decoder.attention.latent {
      rows += self.latent(latent, heads: decoder.sizes.headCount)
    } else if let fused = names.attention.fused {
      add("attn_qkv", fused)
      for (index, part) in ["attn_q", "attn_k", "attn_v"].enumerated() { add(part, fused, .fusedPart(index)) }
    } else {
      rows += projections(decoder, dialect)
    }
    add("attn_output", names.attention.output)
    if decoder.attention.hasSinks {
      rows.append(
        Row(
          stored: "attn_sinks.weight", checkpoint: names.attention.sinks, transform: .none, isWhole: true))
    }
    if let norms = decoder.attention.queryKeyNorm {
      let isSplit = norms.gains == .tensorPerHead
      let suffix = isSplit ? ".norms.@" : ""
      add("attn_q_norm", names.attention.queryNorm + suffix, isSplit ? .stacked(rank: 1) : norm)
      add("attn_k_norm", names.attention.keyNorm + suffix, isSplit ? .stacked(rank: 1) : norm)
    }
    let hasGate = decoder.feedForwards.contains { if case .gated = $0 { true } else { false } }
    add("ffn_gate", hasGate && names.feedForward.fused == nil ? names.feedForward.gate : nil)
    add("ffn_up", hasGate ? names.feedForward.fused ?? names.feedForward.up : names.feedForward.up)
    add("ffn_down", names.feedForward.down)
    for case .experts(let experts) in decoder.feedForwards { return rows + self.experts(experts) }
    return rows
  }

  /// Queries, keys and values; some files have them in one tensor, one after the other.
  private static func projections(_ decoder: Decoder, _ dialect: GGUFDialect) -> [Row] {
    let (names, sizes) = (decoder.names.attention, decoder.sizes)
    let isMoved = dialect.rotary?.order == .neighbours && !decoder.attention.isInterleaved
    let (queries, keys) = (sizes.headCount * sizes.headDimension, sizes.kvHeadCount * sizes.headDimension)
    let parts: [(stored: String, name: String, transform: GGUFTransform, rows: Range<Int>)] = [
      ("attn_q", names.query, isMoved ? .rotaryRows(headCount: sizes.headCount) : .none, 0..<queries),
      (
        "attn_k", names.key, isMoved ? .rotaryRows(headCount: sizes.kvHeadCount) : .none,
        queries..<queries + keys
      ), ("attn_v", names.value, .none, queries + keys..<queries + 2 * keys),
    ]
    return parts.map { Row(stored: $0.stored, checkpoint: $0.name, transform: $0.transform) }
      + parts.map { Row(stored: "attn_qkv", checkpoint: $0.name, transform: $0.transform, rows: $0.rows) }
  }

  /// Narrow projections. Files have the rows of heads as checkpoints do, the model's weights in an order of their own.
  private static func latent(_ latent: LatentAttention, heads: Int) -> [Row] {
    func order(_ width: Int, _ place: (_ head: Int, _ row: Int) -> Int) -> GGUFTransform {
      .rows((0..<heads).flatMap { head in (0..<width).map { place(head, $0) } })
    }
    let (width, both) = (latent.plain + latent.rotated, latent.plain + latent.value)
    let queries = order(width) { head, row in
      head * width + (row < latent.plain ? row + latent.rotated : row - latent.plain)
    }
    let keysAndValues = order(both) { head, row in
      row < latent.plain
        ? head * latent.plain + row : heads * latent.plain + head * latent.value + row - latent.plain
    }
    let parts: [(stored: String, name: String, transform: GGUFTransform)] = [
      ("attn_q", "q_proj", queries), ("attn_q_a", "q_a_proj", .none),
      ("attn_q_a_norm", "q_a_layernorm", .none),
      ("attn_q_b", "q_b_proj", queries), ("attn_kv_a_mqa", "kv_a_proj_with_mqa", .none),
      ("attn_kv_a_norm", "kv_a_layernorm", .none), ("attn_kv_b", "kv_b_proj", keysAndValues),
      ("attn_k_b", "kv_b_proj", .headRows(isTransposed: true)),
      ("attn_v_b", "kv_b_proj", .headRows(isTransposed: false)),
    ]
    return parts.map { Row(stored: $0.stored, checkpoint: "self_attn." + $0.name, transform: $0.transform) }
  }

  private static func experts(_ experts: Experts) -> [Row] {
    var rows: [Row] = []
    if let correction = experts.correction {
      rows.append(
        Row(stored: "exp_probs_b.bias", checkpoint: correction, transform: .none, isWhole: true))
    }
    rows.append(Row(stored: "ffn_gate_inp", checkpoint: experts.router, transform: .none))
    for (stored, name) in [("gate", experts.gate), ("up", experts.up), ("down", experts.down)] {
      let checkpoint = "\(experts.prefix).@.\(name)"
      rows.append(Row(stored: "ffn_\(stored)_exps", checkpoint: checkpoint, transform: .stacked(rank: 2)))
      // Files of 2023 have a tensor for each.
      rows.append(Row(stored: "ffn_\(stored).@", checkpoint: checkpoint, transform: .none))
    }
    // Some files have gates and what they are multiplied with in one tensor, gates first in each expert.
    for (name, first) in [(experts.gate, 0), (experts.up, experts.inner)] {
      rows.append(
        Row(
          stored: "ffn_gate_up_exps", checkpoint: "\(experts.prefix).@.\(name)", transform: .stacked(rank: 2),
          rows: first..<first + experts.inner))
    }
    guard let shared = experts.shared else { return rows }
    for name in ["gate", "up", "down"] {
      rows.append(
        Row(stored: "ffn_\(name)_shexp", checkpoint: "\(shared.prefix).\(name)_proj", transform: .none))
    }
    if let gate = shared.gate {
      rows.append(Row(stored: "ffn_gate_inp_shexp", checkpoint: gate, transform: .row))
    }
    return rows
  }

  /// Where a tensor of a GGUF file belongs, several places when it holds more than one; none for names that mean nothing
  /// in this family.
  public func checkpointPlaces(ofStored name: String) -> [GGUFPlace] {
    let bytes = Array(name.utf8)
    return rows.compactMap { place(of: bytes, $0, from: $0.stored, to: $0.checkpoint) }
  }

  /// Where a tensor of a checkpoint goes; nil for names that a GGUF file has no place for.
  public func storedPlace(ofCheckpoint name: String) -> GGUFPlace? {
    let bytes = Array(name.utf8)
    return rows.lazy.compactMap { place(of: bytes, $0, from: $0.checkpoint, to: $0.stored) }.first
  }

  private func place(of name: [UInt8], _ row: Row, from source: Pattern, to target: Pattern) -> GGUFPlace? {
    guard let dot = row.isWhole ? name.endIndex : name.lastIndex(of: UInt8(ascii: ".")),
      let numbers = source.numbers(in: name[..<dot])
    else { return nil }
    let end = String(decoding: name[dot...], as: UTF8.self)
    var stem = target.text.replacing("#", with: numbers.layer)
    if let index = numbers.index { stem = stem.replacing("@", with: index) }
    var transform = row.transform
    if end == ".bias" {
      if case .shifted = transform { transform = .none }
      if transform == .stacked(rank: 2) { transform = .stacked(rank: 1) }
    }
    return GGUFPlace(
      name: stem + end, transform: transform, index: numbers.index.flatMap { Int($0) }, rows: row.rows)
  }
}

/// A name with `#` and `@` for numbers.
private struct Pattern {
  let text: String
  /// As it is compared: every tensor with every row of the table.
  let bytes: [UInt8]

  init(_ text: String) {
    self.text = text
    bytes = Array(text.utf8)
  }

  /// The digits that stand for `#` ("" when the pattern has none) and for `@`; nil when the name is another one.
  func numbers(in name: ArraySlice<UInt8>) -> (layer: String, index: String?)? {
    var found: (layer: String, index: String?) = ("", nil)
    var rest = name
    for byte in bytes {
      guard byte == UInt8(ascii: "#") || byte == UInt8(ascii: "@") else {
        guard rest.popFirst() == byte else { return nil }
        continue
      }
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard let first = digits.first, first != UInt8(ascii: "0") || digits.count == 1 else { return nil }
      if byte == UInt8(ascii: "#") {
        found.layer = String(decoding: digits, as: UTF8.self)
      } else {
        found.index = String(decoding: digits, as: UTF8.self)
      }
      rest = rest[digits.endIndex...]
    }
    return rest.isEmpty ? found : nil
  }
}
