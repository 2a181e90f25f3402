/// How a word becomes tokens.
enum TokenModel: Sendable {
  /// Byte-pair encoding.
  case pairs(PairModel)
  /// The most likely tokens.
  case unigram(UnigramModel)
  /// The longest tokens.
  case wordPiece(WordPieceModel)
  /// Whole words, and what stands for others.
  case words([[UInt8]: Int32], unknown: Int32?)

  /// What encoding one text needs: buffers and a cache.
  struct Scratch {
    fileprivate var pairs: PairModel.Scratch
    fileprivate var lattice = UnigramModel.Lattice()
    /// Steps done in long words.
    var stepCount: Int { pairs.stepCount + lattice.stepCount }

    /// Buffers for a text of `byteCount` bytes.
    init(_ model: TokenModel, byteCount: Int) {
      if case .pairs(let model) = model {
        pairs = PairModel.Scratch(model.merges, byteCount: byteCount)
      } else {
        pairs = PairModel.Scratch(MergeTable(capacity: 0), byteCount: 0)
      }
    }
  }

  /// Appends the tokens of the word `text[range]`.
  @inline(__always)
  func encode(_ text: Span<UInt8>, _ range: Range<Int>, into tokens: inout [Int32], _ scratch: inout Scratch)
  {
    switch self {
    case .pairs(let model): model.encode(text, range, into: &tokens, &scratch.pairs)
    case .unigram(let model): model.encode(text, range, into: &tokens, &scratch.lattice)
    case .wordPiece(let model): model.encode(text, range, into: &tokens)
    case .words(let words, let unknown):
      if let token = words[range.map { text[$0] }] ?? unknown { tokens.append(token) }
    }
  }
}
