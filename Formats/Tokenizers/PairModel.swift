/// A byte-pair-encoding model: a vocabulary, how a word becomes symbols, and the merges.
struct PairModel: Sendable {
  /// The smallest units of a word.
  enum Symbols: Sendable {
    /// Bytes, each with its token or -1.
    case bytes([Int32])
    /// Unicode scalars: `scalars` names their tokens; `bytes` holds the tokens of the 256 bytes that others
    /// fall back to.
    case scalars(KeyTable, bytes: [Int32]?)
  }

  /// What stands for a symbol that the vocabulary lacks.
  struct Unknown: Sendable {
    /// The token.
    var token: Int32
    /// Whether neighbours become one token.
    var isFused: Bool
  }

  /// How words become symbols.
  var symbols: Symbols
  /// The merges.
  var merges: MergeTable
  /// The unknown token; without one, symbols that the vocabulary lacks are dropped.
  var unknown: Unknown?
  /// Words that are one token whatever the merges say; nil when merges always apply.
  var wholeWords: [[UInt8]: Int32]?
  /// What stands for symbols that merge but are no tokens, by their number from ``firstStandIn`` on.
  var standIns: [[Int32]] = []
  /// The first number that is no token.
  var firstStandIn = Int32.max

  /// Words longer than this are encoded in parts, so that 32-bit places suffice.
  private static let maximumWordByteCount = 1 << 30

  /// What encoding one text needs: buffers and a cache.
  struct Scratch {
    fileprivate var merger: PairMerger
    fileprivate var cache: WordCache
    /// Steps done by the merger in long words.
    var stepCount: Int { merger.stepCount }

    /// Buffers for a text of `byteCount` bytes.
    init(_ merges: MergeTable, byteCount: Int) {
      merger = PairMerger(merges)
      cache = WordCache(byteCount: byteCount)
    }
  }

  /// Appends the tokens of the word `text[range]`.
  func encode(_ text: Span<UInt8>, _ range: Range<Int>, into tokens: inout [Int32], _ scratch: inout Scratch)
  {
    let key = WordCache.Key(text, range)
    if let key, scratch.cache.append(key, to: &tokens) { return }
    let start = tokens.count
    if let wholeWords, let token = wholeWords[Self.copy(text, range)] {
      tokens.append(token)
    } else {
      var part = range.lowerBound
      while part < range.upperBound {
        var end = range.upperBound
        if end - part > Self.maximumWordByteCount {
          end = UnicodeClasses.start(before: part + Self.maximumWordByteCount, in: text)
        }
        let first = tokens.count
        appendSymbols(text, part..<end, to: &tokens)
        scratch.merger.merge(&tokens, from: first)
        part = end
      }
      if !standIns.isEmpty { replaceStandIns(&tokens, from: start) }
    }
    if let key { scratch.cache.store(key, tokens[start...]) }
  }

  private func replaceStandIns(_ tokens: inout [Int32], from start: Int) {
    guard tokens[start...].contains(where: { $0 >= firstStandIn }) else { return }
    let merged = Array(tokens[start...])
    tokens.removeLast(merged.count)
    for token in merged {
      for part in token < firstStandIn ? [token] : standIns[Int(token - firstStandIn)] {
        // Neighbours that are unknown stay one token.
        if let unknown, unknown.isFused, part == unknown.token, tokens.count > start, tokens.last == part {
          continue
        }
        tokens.append(part)
      }
    }
  }

  private static func copy(_ text: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
    range.map { text[$0] }
  }

  private func appendSymbols(_ text: Span<UInt8>, _ range: Range<Int>, to tokens: inout [Int32]) {
    var pending = PendingUnknown(unknown)
    switch symbols {
    case .bytes(let ids):
      for index in range {
        let id = ids[Int(text[index])]
        if id >= 0 { pending.flush(&tokens); tokens.append(id) } else { pending.add(&tokens) }
      }
    case .scalars(let ids, let bytes):
      var index = range.lowerBound
      while index < range.upperBound {
        let scalar = UnicodeClasses.scalar(text, index)
        defer { index += scalar.count }
        if let id = ids[UInt64(scalar.value)] {
          pending.flush(&tokens)
          tokens.append(Int32(truncatingIfNeeded: id))
        } else if let bytes, (index..<index + scalar.count).allSatisfy({ bytes[Int(text[$0])] >= 0 }) {
          // An unknown symbol before these stays pending here: the reference implementation has it so.
          for place in index..<index + scalar.count { tokens.append(bytes[Int(text[place])]) }
        } else {
          pending.add(&tokens)
        }
      }
    }
    pending.flush(&tokens)
  }

  /// An unknown token that may still take in its right neighbours.
  private struct PendingUnknown {
    let unknown: Unknown?
    var isPending = false

    init(_ unknown: Unknown?) { self.unknown = unknown }

    mutating func add(_ tokens: inout [Int32]) {
      guard let unknown else { return }
      if isPending, !unknown.isFused { tokens.append(unknown.token) }
      isPending = true
    }

    mutating func flush(_ tokens: inout [Int32]) {
      if isPending, let unknown { tokens.append(unknown.token) }
      isPending = false
    }
  }
}
