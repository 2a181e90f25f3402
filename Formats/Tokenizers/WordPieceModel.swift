/// WordPiece: from the left the longest token again and again; a word that cannot be written so is unknown.
///
/// Source: the greedy algorithm of BERT's published tokenizer.
struct WordPieceModel: Sendable {
  /// The tokens.
  var trie: TokenTrie
  /// Where tokens that go on with a word begin in the trie (after `##`, say); nil when there are none.
  var continuation: Int32?
  /// What is put before a word (U+2581 in GGUF vocabularies).
  var mark: [UInt8] = []
  /// The unknown token; without one unknown words are left out.
  var unknown: Int32?
  /// Scalars of the longest word that is looked at; longer ones are unknown.
  var maximumScalarCount = 100

  /// Appends the tokens of `text[range]`.
  func encode(_ text: Span<UInt8>, _ range: Range<Int>, into tokens: inout [Int32]) {
    if range.isEmpty { return }
    if mark.isEmpty {
      encode(text.extracting(range), into: &tokens)
    } else {
      let marked = mark + range.map { text[$0] }
      encode(marked.span, into: &tokens)
    }
  }

  private func encode(_ word: Span<UInt8>, into tokens: inout [Int32]) {
    let first = tokens.count
    if scalarCount(word) <= maximumScalarCount {
      var start = 0
      while start < word.count {
        guard let state = start == 0 ? TokenTrie.root : continuation,
          let found = trie.longest(word, start, end: word.count, from: state)
        else { break }
        tokens.append(found.id)
        start = found.end
      }
      if start == word.count { return }
    }
    tokens.removeLast(tokens.count - first)
    if let unknown { tokens.append(unknown) }
  }

  private func scalarCount(_ word: Span<UInt8>) -> Int {
    if maximumScalarCount == .max { return 0 }
    var count = 0
    for index in word.indices where word[index] & 0xC0 != 0x80 { count += 1 }
    return count
  }
}
