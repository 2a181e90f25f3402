import SafeIO

/// The tokenizer of llama2.c: pieces with scores; the neighbours whose joint piece has the best score merge
/// first.
///
/// Ids 0, 1 and 2 are the unknown token, the beginning and the end of a sequence; 3 to 258 are the bytes. A
/// text gets a space in front; a scalar that is no piece becomes its bytes.
///
/// Source: the program's own description in `run.c` of llama2.c, followed here with a queue in place of the
/// repeated search, so that time is n log n and not n squared.
struct Llama2CTokenizer: Tokenizer {
  private static let byteBase: Int32 = 3
  private static let specialCount = 3
  /// Bytes of the longest piece; looking for its parts takes the square of it.
  private static let maximumPieceByteCount = 512

  private let pieces: TokenBytes
  private let ids: [[UInt8]: Int32]
  private let model: PairModel

  var vocabularyCount: Int { pieces.count }
  var beginOfSequence: Int32? { 1 }
  var endOfSequence: Int32? { 2 }

  /// Reads a vocabulary file: the longest piece's byte count (int32), then a score (float32), a byte count
  /// (int32) and the bytes of each piece until the end.
  /// - Throws: ``TokenizerError`` when a count does not fit, a score is not a number, or byte pieces are not
  ///   where they must be.
  init(parsing bytes: [UInt8], file: String?) throws(TokenizerError) {
    try self.init(try Self.entries(of: bytes, file: file), file: file)
  }

  /// The pieces and scores of a file.
  static func entries(
    of bytes: [UInt8], file: String?
  ) throws(TokenizerError) -> [(piece: [UInt8], score: Float)] {
    var entries: [(piece: [UInt8], score: Float)] = []
    do throws(SafeIOError) {
      var reader = ByteReader(bytes, file: file)
      let longest = try reader.readLittleEndian(Int32.self)
      while reader.remaining > 0 {
        let score = try reader.readFloat()
        let offset = reader.offset
        let count = try reader.readLittleEndian(Int32.self)
        guard count >= 0, count <= longest else {
          throw .malformed(
            file: file, offset: offset, problem: "a piece of \(count) bytes, longest is \(longest)")
        }
        entries.append((try reader.readBytes(Int(count)), score))
      }
    } catch {
      throw .unreadable(error)
    }
    return entries
  }

  /// Takes the pieces in the order of their ids.
  /// - Throws: ``TokenizerError`` as when reading a file.
  init(_ entries: [(piece: [UInt8], score: Float)], file: String?) throws(TokenizerError) {
    guard entries.count >= Self.specialCount + 256 else {
      throw .invalid(file: file, path: "pieces", expected: "at least 259", found: "\(entries.count)")
    }
    var pieces = TokenBytes()
    var ids: [[UInt8]: Int32] = [:]
    for (id, (piece, score)) in entries.enumerated() {
      guard piece.count <= Self.maximumPieceByteCount else {
        throw .limit(
          file: file, path: "pieces[\(id)]", limit: Self.maximumPieceByteCount, found: piece.count)
      }
      guard !score.isNaN else {
        throw .invalid(file: file, path: "scores[\(id)]", expected: "a number", found: "NaN")
      }
      let byte = id - Self.specialCount
      if (0..<256).contains(byte), Metaspace.byte(of: piece) != UInt8(byte) {
        throw .invalid(
          file: file, path: "pieces[\(id)]", expected: Metaspace.token(of: UInt8(byte)),
          found: String(decoding: piece.prefix(40), as: UTF8.self))
      }
      pieces.append(piece)
      // Of equal pieces the first counts.
      if !piece.isEmpty, ids[piece] == nil { ids[piece] = Int32(id) }
    }
    self.pieces = pieces
    self.ids = ids
    var scalars = KeyTable(capacity: 512)
    for (piece, id) in ids {
      let count = piece.count
      let (value, length) = UnicodeClasses.scalar(piece.span, 0)
      if length == count, String(validating: piece, as: UTF8.self) != nil {
        scalars.set(UInt64(value), UInt64(id))
      }
    }
    let bytes = (0..<256).map { Int32($0) + Self.byteBase }
    model = PairModel(symbols: .scalars(scalars, bytes: bytes), merges: Self.merges(entries, ids))
  }

  /// Every way to put a piece together from two pieces, ranked by score: equal scores have equal ranks.
  private static func merges(_ entries: [(piece: [UInt8], score: Float)], _ ids: [[UInt8]: Int32])
    -> MergeTable
  {
    // The program merges only pieces whose score is above this.
    let threshold: Float = -1e10
    let scores = Set(entries.lazy.map(\.score).filter { $0 > threshold }).sorted(by: >)
    let ranks = Dictionary(zip(scores, Int32(0)...), uniquingKeysWith: { first, _ in first })
    var merges = MergeTable(capacity: entries.count * 2)
    for (piece, id) in ids where piece.count > 1 {
      guard let rank = ranks[entries[Int(id)].score] else { continue }
      for split in 1..<piece.count {
        if let left = ids[Array(piece[..<split])], let right = ids[Array(piece[split...])] {
          merges.set(left, right, MergeTable.Merge(rank: rank, result: id))
        }
      }
    }
    return merges
  }

  func encode(_ text: [UInt8], addSpecialTokens: Bool, parseSpecialTokens: Bool) -> [Int32] {
    var tokens: [Int32] = addSpecialTokens ? [1] : []
    if text.isEmpty { return tokens }
    let prefixed = [0x20] + UTF8Text.repaired(text)
    var scratch = PairModel.Scratch(model.merges, byteCount: prefixed.count)
    model.encode(prefixed.span, 0..<prefixed.count, into: &tokens, &scratch)
    return tokens
  }

  func bytes(of token: Int32) -> [UInt8] {
    if isSpecial(token) { return [] }
    let piece = pieces[Int(token)]
    if let byte = Metaspace.byte(of: piece) { return [byte] }
    return Array(piece)
  }

  /// The bytes of a token; right after the beginning of a sequence without the space that encoding put in
  /// front.
  func bytes(of token: Int32, in context: DecodingContext) -> [UInt8] {
    let bytes = bytes(of: token)
    return context.previous == beginOfSequence && bytes.first == 0x20 ? Array(bytes.dropFirst()) : bytes
  }

  func isSpecial(_ token: Int32) -> Bool { (0..<Int32(Self.specialCount)).contains(token) }

  func token(_ id: Int32) -> String? {
    guard id >= 0, id < pieces.count else { return nil }
    return String(decoding: pieces[Int(id)], as: UTF8.self)
  }

  func id(of token: String) -> Int32? { ids[Array(token.utf8)] }
}
