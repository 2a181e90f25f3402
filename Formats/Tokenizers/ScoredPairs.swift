/// Turns a vocabulary of pieces with scores into merges: any two neighbours whose concatenation is a piece may
/// merge, the highest score first, the leftmost of equal ones.
///
/// Source: SentencePiece's BPE model, which looks pieces up while it merges; here all ways to put a piece
/// together from two are found beforehand with a trie of the pieces and one of the pieces read backwards.
struct ScoredPairs {
  /// Most merges: a hostile vocabulary has as many as it has bytes.
  private static let maximumMergeCount = 8_000_000

  private let pieces: [[UInt8]]
  private let isMergeable: [Bool]
  private var forward: TokenTrie
  private var backward: TokenTrie
  /// Numbers of single scalars: tokens, and from `pieces.count` on stand-ins for scalars that are none.
  private var scalars = KeyTable(capacity: 4096)
  private var standIns: [UInt32] = []
  private var mergeCount = 0

  /// - Parameters:
  ///   - pieces: the tokens by id.
  ///   - isMergeable: whether a token may be a part of a merge or its result.
  init(pieces: [[UInt8]], isMergeable: [Bool]) {
    self.pieces = pieces
    self.isMergeable = isMergeable
    let byteCount = pieces.reduce(0) { $0 + $1.count }
    forward = TokenTrie(byteCount: byteCount)
    backward = TokenTrie(byteCount: byteCount)
    for (id, piece) in pieces.enumerated() where isMergeable[id] && !piece.isEmpty {
      forward.insert(piece, Int32(id))
      backward.insert(piece.reversed(), Int32(id))
      let (value, count) = UnicodeClasses.scalar(piece.span, 0)
      if count == piece.count, String(validating: piece, as: UTF8.self) != nil {
        scalars.set(UInt64(value), UInt64(id))
      }
    }
  }

  /// The model.
  ///
  /// - Parameters:
  ///   - scores: by id, none NaN.
  ///   - bytes: the tokens of the 256 bytes, -1 for those that there are not.
  ///   - unknown: the token of what cannot be written with bytes.
  /// - Throws: ``TokenizerError`` when there are too many merges.
  mutating func model(
    scores: [Float], bytes: [Int32]?, unknown: Int32?, path: String, file: String?
  ) throws(TokenizerError) -> PairModel {
    let sorted = Set(scores.map { $0 == 0 ? 0 : $0 }).sorted(by: >)
    let ranks = Dictionary(zip(sorted, Int32(0)...), uniquingKeysWith: { first, _ in first })
    var merges = MergeTable(capacity: pieces.count * 2)
    for (id, piece) in pieces.enumerated() where isMergeable[id] && piece.count > 1 {
      guard forward.id(forward.state(after: piece)) == Int32(id), let rank = ranks[scores[id]] else {
        continue
      }
      addMerges(of: piece, MergeTable.Merge(rank: rank, result: Int32(id)), to: &merges)
      guard mergeCount <= Self.maximumMergeCount else {
        throw .limit(file: file, path: path, limit: Self.maximumMergeCount, found: mergeCount)
      }
    }
    var model = PairModel(
      symbols: .scalars(scalars, bytes: bytes), merges: merges,
      unknown: unknown.map { PairModel.Unknown(token: $0, isFused: true) })
    model.firstStandIn = Int32(pieces.count)
    model.standIns = standIns.map { scalar in
      var utf8: [UInt8] = []
      UnicodeNormalization.appendScalar(scalar, to: &utf8)
      let tokens = utf8.compactMap { byte in bytes.flatMap { $0[Int(byte)] >= 0 ? $0[Int(byte)] : nil } }
      return tokens.count == utf8.count ? tokens : unknown.map { [$0] } ?? []
    }
    return model
  }

  private mutating func addMerges(of piece: [UInt8], _ merge: MergeTable.Merge, to merges: inout MergeTable) {
    // The pieces that this one ends with, by where they begin.
    var endings = Array(repeating: Int32(-1), count: piece.count)
    var state = TokenTrie.root
    for index in stride(from: piece.count - 1, to: 0, by: -1) {
      state = backward.child(state, piece[index])
      if state == 0 { break }
      endings[index] = backward.id(state)
    }
    state = TokenTrie.root
    var isFirstScalar = true
    for index in 0..<piece.count - 1 {
      state = state == 0 && index > 0 ? 0 : forward.child(state, piece[index])
      let next = index + 1
      if piece[next] & 0xC0 == 0x80 { continue }
      var left = state == 0 ? -1 : forward.id(state)
      var right = endings[next]
      let isLastScalar = !piece[(next + 1)...].contains { $0 & 0xC0 != 0x80 }
      let wasFirstScalar = isFirstScalar
      isFirstScalar = false
      guard left >= 0 || wasFirstScalar, right >= 0 || isLastScalar else {
        if state == 0 { return }
        continue
      }
      // A scalar that is no token may still be a part of one.
      if left < 0 { left = standIn(piece[..<next]) }
      if right < 0 { right = standIn(piece[next...]) }
      guard left >= 0, right >= 0 else { continue }
      merges.set(left, right, merge)
      mergeCount += 1
    }
  }

  /// The number of a scalar that is no token.
  private mutating func standIn(_ utf8: ArraySlice<UInt8>) -> Int32 {
    let (value, count) = UnicodeClasses.scalar(Array(utf8).span, 0)
    guard count == utf8.count else { return -1 }
    if let number = scalars[UInt64(value)] { return Int32(truncatingIfNeeded: number) }
    let number = Int32(pieces.count + standIns.count)
    standIns.append(value)
    scalars.set(UInt64(value), UInt64(number))
    return number
  }
}
