/// A unigram language model: of all ways to write a word with tokens, the one with the highest sum of scores.
///
/// Viterbi's algorithm over the places of the text; each place asks a trie for the tokens that begin there.
/// Time is the text's length times that of the longest token.
///
/// Source: Kudo, "Subword regularization", ACL 2018; ties and unknown scalars as in SentencePiece's
/// `EncodeOptimized`.
struct UnigramModel: Sendable {
  /// Bytes of the longest token.
  static let maximumTokenByteCount = 512
  /// How far an unknown scalar's score is below the lowest one.
  static let unknownPenalty = 10.0

  /// The tokens that may stand in a text.
  var trie: TokenTrie
  /// Scores by id.
  var scores: [Double]
  /// The score of a scalar that is no token.
  var unknownScore: Double
  /// The unknown token; without one unknown scalars are left out.
  var unknown: Int32?
  /// Whether neighbouring unknown scalars become one token.
  var isFused = true
  /// Whether sums are rounded to single precision, as SentencePiece itself does.
  var isSinglePrecision = false
  /// The tokens of the 256 bytes that unknown scalars become.
  var bytes: [Int32]?

  /// The best way to reach each place.
  struct Lattice {
    fileprivate var scores: [Double] = []
    fileprivate var starts: [Int32] = []
    fileprivate var ids: [Int32] = []
    /// Nodes of the trie that were visited.
    fileprivate(set) var stepCount = 0

    fileprivate mutating func prepare(_ count: Int) {
      scores.removeAll(keepingCapacity: true)
      starts.removeAll(keepingCapacity: true)
      ids.removeAll(keepingCapacity: true)
      scores.append(contentsOf: repeatElement(0, count: count + 1))
      starts.append(contentsOf: repeatElement(-1, count: count + 1))
      ids.append(contentsOf: repeatElement(-1, count: count + 1))
    }
  }

  /// Appends the tokens of `text[range]`, which has fewer than 2^31 bytes.
  func encode(_ text: Span<UInt8>, _ range: Range<Int>, into tokens: inout [Int32], _ lattice: inout Lattice)
  {
    if range.isEmpty { return }
    let text = text.extracting(range)
    lattice.prepare(text.count)
    var start = 0
    while start < text.count {
      let end = min(start + UnicodeClasses.scalar(text, start).count, text.count)
      extend(text, start, scalarEnd: end, &lattice)
      start = end
    }
    collect(text, into: &tokens, lattice)
  }

  private func extend(_ text: Span<UInt8>, _ start: Int, scalarEnd: Int, _ lattice: inout Lattice) {
    let sum = lattice.scores[start]
    var hasScalar = false
    var state = TokenTrie.root
    var index = start
    while index < text.count {
      state = trie.child(state, text[index])
      if state == 0 { break }
      index += 1
      let id = trie.id(state)
      if id < 0 { continue }
      if index == scalarEnd { hasScalar = true }
      offer(sum + scores[Int(id)], start, id, at: index, &lattice)
    }
    lattice.stepCount += index - start + 1
    if !hasScalar { offer(sum + unknownScore, start, -2, at: scalarEnd, &lattice) }
  }

  @inline(__always)
  private func offer(_ sum: Double, _ start: Int, _ id: Int32, at end: Int, _ lattice: inout Lattice) {
    if lattice.starts[end] >= 0, sum <= lattice.scores[end] { return }
    // Rounded when it is kept, not when it is compared: SentencePiece adds in double precision.
    lattice.scores[end] = isSinglePrecision ? Double(Float(sum)) : sum
    lattice.starts[end] = Int32(truncatingIfNeeded: start)
    lattice.ids[end] = id
  }

  /// Goes back from the end, then puts the tokens in order.
  private func collect(_ text: Span<UInt8>, into tokens: inout [Int32], _ lattice: Lattice) {
    let first = tokens.count
    var end = text.count
    while end > 0 {
      var start = Int(lattice.starts[end])
      let id = lattice.ids[end]
      guard isUnknown(id) else {
        tokens.append(id)
        end = start
        continue
      }
      if isFused {
        while start > 0, isUnknown(lattice.ids[start]) { start = Int(lattice.starts[start]) }
      }
      appendUnknown(text, start..<end, to: &tokens)
      end = start
    }
    tokens[first...].reverse()
  }

  private func isUnknown(_ id: Int32) -> Bool { id == -2 || id == unknown }

  /// Appends, from the last to the first, what stands for a stretch of unknown scalars.
  private func appendUnknown(_ text: Span<UInt8>, _ range: Range<Int>, to tokens: inout [Int32]) {
    if let found = trie.longest(text, range.lowerBound, end: range.upperBound), found.end == range.upperBound
    {
      tokens.append(found.id)
    } else if let bytes, range.allSatisfy({ bytes[Int(text[$0])] >= 0 }) {
      for index in range.reversed() { tokens.append(bytes[Int(text[index])]) }
    } else if let unknown {
      tokens.append(unknown)
    }
  }
}
