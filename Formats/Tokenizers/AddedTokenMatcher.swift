/// Finds added tokens in a text: the leftmost, and of those that begin there the longest.
///
/// An Aho-Corasick automaton of the reversed tokens reads the text from right to left; its state at a place
/// tells the longest token that begins there. One pass, linear in the text whatever the tokens are.
///
/// Source: Aho and Corasick, "Efficient string matching", CACM 18 (1975).
struct AddedTokenMatcher: Sendable {
  /// A token in a text, with the white space that it takes in.
  struct Match: Equatable {
    /// Where it is.
    var range: Range<Int>
    /// Its id.
    var id: Int32
  }

  private let tokens: [AddedToken]
  private let byteCounts: [Int]
  /// Children by state and byte.
  private var children: KeyTable
  /// Where to go on when no child fits.
  private var fallback: [Int32] = [0]
  /// The longest token that ends (reversed: begins) in a state, -1 when there is none.
  private var longest: [Int32] = [-1]
  /// The states below the root by byte, 0 when there is none.
  private var roots: [Int32] = Array(repeating: 0, count: 256)

  /// A matcher for `tokens`, whose contents are not empty and all different.
  init(_ tokens: [AddedToken]) {
    self.tokens = tokens
    byteCounts = tokens.map(\.content.utf8.count)
    children = KeyTable(capacity: byteCounts.reduce(0, +))
    // (parent, byte) of each state; parents come first, but states of one depth need not stand together.
    var origins: [(parent: Int32, byte: UInt8, depth: Int)] = [(0, 0, 0)]
    for (index, token) in tokens.enumerated() {
      var state: Int32 = 0
      for byte in token.content.utf8.reversed() {
        if let child = child(state, byte) {
          state = child
          continue
        }
        let child = Int32(origins.count)
        origins.append((state, byte, origins[Int(state)].depth + 1))
        children.set(Self.key(state, byte), UInt64(child))
        longest.append(-1)
        fallback.append(0)
        if state == 0 { roots[Int(byte)] = child }
        state = child
      }
      longest[Int(state)] = Int32(index)
    }
    link(origins)
  }

  /// Sets the fallbacks, in order of depth.
  private mutating func link(_ origins: [(parent: Int32, byte: UInt8, depth: Int)]) {
    let order = origins.indices.dropFirst().sorted { origins[$0].depth < origins[$1].depth }
    for state in order {
      let (parent, byte, depth) = origins[state]
      if depth > 1 { fallback[state] = step(fallback[Int(parent)], byte) }
      if longest[state] < 0 { longest[state] = longest[Int(fallback[state])] }
    }
  }

  private static func key(_ state: Int32, _ byte: UInt8) -> UInt64 { UInt64(state) << 8 | UInt64(byte) }

  private func child(_ state: Int32, _ byte: UInt8) -> Int32? {
    children[Self.key(state, byte)].map { Int32(truncatingIfNeeded: $0) }
  }

  private func step(_ state: Int32, _ byte: UInt8) -> Int32 {
    var state = state
    while state != 0 {
      if let child = child(state, byte) { return child }
      state = fallback[Int(state)]
    }
    return roots[Int(byte)]
  }

  /// Whether there is nothing to look for.
  var isEmpty: Bool { tokens.isEmpty }

  /// The matches in `text[range]` from left to right; they do not overlap.
  ///
  /// With `parseSpecialTokens` false, special tokens are left in the text; so is a token that is to be a word
  /// of its own and is none. Neither makes room for another token inside of it.
  func matches(_ text: Span<UInt8>, _ range: Range<Int>, parseSpecialTokens: Bool) -> [Match] {
    var matches: [Match] = []
    // The end of what is used up, and of the last candidate.
    var used = range.lowerBound
    var passed = range.lowerBound
    for (start, index) in candidates(text, range).reversed() where start >= passed {
      let token = tokens[index]
      let end = start + byteCounts[index]
      passed = end
      if token.isSpecial, !parseSpecialTokens { continue }
      if token.isSingleWord, !isWordOfItsOwn(text, start..<end, in: range) { continue }
      if start < used { continue }
      var match = start..<end
      if token.stripsLeft { match = Self.spaceStart(text, used..<start)..<end }
      if token.stripsRight { match = match.lowerBound..<Self.spaceEnd(text, end..<range.upperBound) }
      used = match.upperBound
      matches.append(Match(range: match, id: token.id))
    }
    return matches
  }

  /// The longest token that begins at each place, from right to left, for the places where one begins.
  private func candidates(_ text: Span<UInt8>, _ range: Range<Int>) -> [(start: Int, token: Int)] {
    var found: [(start: Int, token: Int)] = []
    var state: Int32 = 0
    for index in range.reversed() {
      let byte = text[index]
      state = state == 0 ? roots[Int(byte)] : step(state, byte)
      let token = longest[Int(state)]
      if token >= 0 { found.append((index, Int(token))) }
    }
    return found
  }

  private func isWordOfItsOwn(_ text: Span<UInt8>, _ match: Range<Int>, in range: Range<Int>) -> Bool {
    if match.lowerBound > range.lowerBound {
      let before = UnicodeClasses.start(before: match.lowerBound, in: text)
      if UnicodeClasses.isWord(UnicodeClasses.scalar(text, before).value) { return false }
    }
    guard match.upperBound < range.upperBound else { return true }
    return !UnicodeClasses.isWord(UnicodeClasses.scalar(text, match.upperBound).value)
  }

  private static func spaceStart(_ text: Span<UInt8>, _ range: Range<Int>) -> Int {
    var start = range.upperBound
    while start > range.lowerBound {
      let before = UnicodeClasses.start(before: start, in: text)
      if UnicodeClasses.shared.read(text, before).flags & UnicodeClasses.space == 0 { break }
      start = before
    }
    return start
  }

  private static func spaceEnd(_ text: Span<UInt8>, _ range: Range<Int>) -> Int {
    SplitPattern.runEnd(
      text.extracting(0..<range.upperBound), range.lowerBound, .shared, mask: UnicodeClasses.space,
      equals: UnicodeClasses.space)
  }
}
