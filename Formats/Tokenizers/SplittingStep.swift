/// One step on the way from text to words.
enum SplittingStep: Sendable {
  /// What becomes of the matches of a pattern and of what is between them.
  enum Behavior: String, Sendable, CaseIterable {
    /// Every one is a piece.
    case isolated = "Isolated"
    /// Matches are left out.
    case removed = "Removed"
    /// Neighbouring matches are one piece.
    case contiguous = "Contiguous"
    /// A match belongs to the piece before it.
    case mergedWithPrevious = "MergedWithPrevious"
    /// A match belongs to the piece after it.
    case mergedWithNext = "MergedWithNext"
  }

  /// Where U+2581 is put in front of a piece.
  enum MetaspacePrefix: Sendable {
    /// Nowhere.
    case never
    /// At the start of the text, unless it is there.
    case first
    /// Before every piece, unless it is there.
    case always
    /// Before every piece, even if it is there.
    case unconditional
  }

  /// Splits by a pattern; with `isInverted` what is between the matches counts as matches.
  case split(SplitPattern, Behavior, isInverted: Bool)
  /// Puts a space before each piece that begins with none.
  case prefixSpace
  /// Spaces become U+2581, which may be put in front; splits before each U+2581 or not at all.
  case metaspace(MetaspacePrefix, isSplit: Bool)
  /// Pieces of so many scalars.
  case fixedLength(Int)
  /// Writes bytes in the byte alphabet, for steps after ByteLevel.
  case byteAlphabet

  /// The text as this step changes it, before it is split; nil when it does not.
  func rewritten(_ text: Span<UInt8>, isFirst: Bool) -> [UInt8]? {
    switch self {
    case .prefixSpace: text[0] == 0x20 ? nil : [0x20] + text.copied()
    case .metaspace(let prefix, _): Metaspace.replacingSpaces(text, prefix: prefix, isFirst: isFirst)
    case .byteAlphabet:
      text.indices.reduce(into: []) {
        UnicodeNormalization.appendScalar(ByteAlphabet.scalars[Int(text[$1])], to: &$0)
      }
    case .split, .fixedLength: nil
    }
  }

  /// Calls `body` for each piece of `text`, which is as ``rewritten(_:isFirst:)`` left it; no piece is empty.
  @inline(__always)
  func forEachPiece(
    _ text: Span<UInt8>, _ body: (Range<Int>) throws(TokenizerError) -> Void
  ) throws(TokenizerError) {
    switch self {
    case .split(let pattern, .isolated, _):
      try pattern.forEachPart(text) { range, _ throws(TokenizerError) in
        if !range.isEmpty { try body(range) }
      }
    case .split(let pattern, .removed, let isInverted):
      try pattern.forEachPart(text) { range, isMatch throws(TokenizerError) in
        if isMatch == isInverted, !range.isEmpty { try body(range) }
      }
    case .split(let pattern, let behavior, let isInverted):
      for range in try Self.merged(text, pattern, behavior, isInverted) where !range.isEmpty {
        try body(range)
      }
    case .prefixSpace, .byteAlphabet, .metaspace(_, isSplit: false):
      try body(0..<text.count)
    case .metaspace(_, isSplit: true):
      var start = 0
      while start < text.count {
        let end = Metaspace.nextMark(text, after: start)
        try body(start..<end)
        start = end
      }
    case .fixedLength(let length):
      var start = 0
      while start < text.count {
        var end = start
        var count = 0
        while count < length, end < text.count {
          end += UnicodeClasses.scalar(text, end).count
          count += 1
        }
        try body(start..<end)
        start = end
      }
    }
  }

  /// The pieces where matches and others may become one.
  private static func merged(
    _ text: Span<UInt8>, _ pattern: SplitPattern, _ behavior: Behavior, _ isInverted: Bool
  ) throws(TokenizerError) -> [Range<Int>] {
    var parts: [(range: Range<Int>, isMatch: Bool)] = []
    try pattern.forEachPart(text) { range, isMatch throws(TokenizerError) in
      parts.append((range, isMatch != isInverted))
    }
    if behavior == .mergedWithNext { parts.reverse() }
    var pieces: [Range<Int>] = []
    var wasMatch: Bool?
    for (range, isMatch) in parts {
      let joins =
        behavior == .contiguous ? isMatch == wasMatch : isMatch && wasMatch != true && !pieces.isEmpty
      wasMatch = isMatch
      if joins, let last = pieces.popLast() {
        pieces.append(min(last.lowerBound, range.lowerBound)..<max(last.upperBound, range.upperBound))
      } else {
        pieces.append(range)
      }
    }
    if behavior == .mergedWithNext { pieces.reverse() }
    return pieces
  }
}
