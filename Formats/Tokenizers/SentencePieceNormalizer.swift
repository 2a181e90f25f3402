/// SentencePiece's normalizer: rules for characters, and what becomes of spaces.
///
/// Source: the behaviour of SentencePiece's `Normalizer::Normalize`.
struct SentencePieceNormalizer: Sendable {
  /// The rules; none means identity.
  var charsmap: Charsmap?
  /// Puts a space before the text (or after it, with ``treatsSpaceAsSuffix``).
  var addsDummyPrefix = true
  /// Spaces at the ends go, and several between words become one.
  var removesExtraSpaces = true
  /// Spaces become U+2581.
  var escapesSpaces = true
  /// The space of the dummy prefix stands at the end.
  var treatsSpaceAsSuffix = false
  /// The space of the dummy prefix needs a word to stand before, as in llama.cpp: spaces alone get none.
  var prefixesWordsOnly = false
  /// Tokens that are left as they are wherever they stand.
  var protected: TokenTrie?

  /// The text normalized.
  func normalized(_ text: [UInt8]) -> [UInt8] {
    let span = text.span
    let space: [UInt8] = escapesSpaces ? Metaspace.mark : [0x20]
    var index = 0
    while removesExtraSpaces, index < span.count {
      let part = next(text, span, index)
      guard part.bytes.elementsEqual([0x20]) else { break }
      index = part.end
    }
    if index == span.count { return [] }
    var result: [UInt8] = []
    result.reserveCapacity(text.count + text.count / 4 + 3)
    if addsDummyPrefix, !treatsSpaceAsSuffix { result += space }
    var isAfterSpace = removesExtraSpaces
    var hasWord = false
    while index < span.count {
      let part = next(text, span, index)
      index = part.end
      let bytes = isAfterSpace ? part.bytes.drop { $0 == 0x20 } : part.bytes
      for byte in bytes {
        if byte == 0x20 {
          result += space
        } else {
          result.append(byte)
          hasWord = true
        }
      }
      if let last = bytes.last { isAfterSpace = removesExtraSpaces && last == 0x20 }
    }
    if prefixesWordsOnly, addsDummyPrefix, !treatsSpaceAsSuffix, !hasWord { result.removeFirst(space.count) }
    while removesExtraSpaces, result.count >= space.count, result.suffix(space.count).elementsEqual(space) {
      result.removeLast(space.count)
    }
    if addsDummyPrefix, treatsSpaceAsSuffix { result += space }
    return result
  }

  /// What the text at `start` becomes, and where the next part begins.
  private func next(_ text: [UInt8], _ span: Span<UInt8>, _ start: Int) -> (
    bytes: ArraySlice<UInt8>, end: Int
  ) {
    if let found = protected?.longest(span, start, end: span.count) {
      return (text[start..<found.end], found.end)
    }
    if let rule = charsmap?.rule(span, start, end: span.count) {
      return (charsmap?.replacement(rule.replacement) ?? [], start + rule.byteCount)
    }
    let end = start + UnicodeClasses.scalar(span, start).count
    return (text[start..<end], end)
  }
}
