extension SplitPattern {
  static let anyClass = UnicodeClasses.letter | UnicodeClasses.number | UnicodeClasses.space

  /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
  static func gpt2End(_ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses) -> Int {
    let contraction = contractionCount(text, start, ignoringCase: false)
    if contraction > 0 { return start + contraction }
    var first = classes.read(text, start)
    var next = start + first.count
    if text[start] == 0x20, next < text.count {
      let second = classes.read(text, next)
      if second.flags & UnicodeClasses.space == 0 {
        first = second
        next += second.count
      }
    }
    if first.flags & UnicodeClasses.space == 0 {
      return runEnd(text, next, classes, mask: anyClass, equals: first.flags & anyClass)
    }
    let end = runEnd(text, next, classes, mask: UnicodeClasses.space, equals: UnicodeClasses.space)
    return whiteSpaceEnd(text, from: start, runEnd: end)
  }

  /// What is different between the descendants of Llama 3's pattern.
  struct WordRules: Sendable {
    /// `\p{N}{1,n}`.
    var digitLimit = 3
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)` comes first.
    var hasContractions = true
    /// `[\p{L}\p{M}]+` in the place of `\p{L}+`, and `[^\s\p{L}\p{M}\p{N}]+`.
    var joinsMarks = false
    /// `[\r\n]*` after `[^\s\p{L}\p{N}]+`.
    var keepsLineEnds = true
  }

  /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
  /// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, with some parts changed.
  static func llama3End(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses, _ rules: WordRules
  ) -> Int {
    if rules.hasContractions {
      let contraction = contractionCount(text, start, ignoringCase: true)
      if contraction > 0 { return start + contraction }
    }
    let word = rules.joinsMarks ? UnicodeClasses.letter | UnicodeClasses.mark : UnicodeClasses.letter
    let first = classes.read(text, start)
    let next = start + first.count
    if first.flags & word != 0 { return runEnd(text, next, classes, ofAny: word) }
    if first.flags & UnicodeClasses.number != 0 {
      return runEnd(
        text, next, classes, mask: UnicodeClasses.number, equals: UnicodeClasses.number,
        limit: rules.digitLimit - 1)
    }
    let others = anyClass | word
    if next < text.count, first.flags & UnicodeClasses.newline == 0 {
      let second = classes.read(text, next)
      if second.flags & word != 0 { return runEnd(text, next + second.count, classes, ofAny: word) }
      if text[start] == 0x20, second.flags & others == 0 {
        return punctuationEnd(text, next + second.count, classes, others, rules.keepsLineEnds)
      }
    }
    if first.flags & UnicodeClasses.space == 0 {
      return punctuationEnd(text, next, classes, others, rules.keepsLineEnds)
    }
    return lineOrSpaceEnd(text, start, classes)
  }

  /// The rest of `[^\s\p{L}\p{N}]+[\r\n]*`.
  private static func punctuationEnd(
    _ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses, _ others: UInt16, _ keepsLineEnds: Bool
  ) -> Int {
    let end = runEnd(text, index, classes, mask: others, equals: 0)
    return keepsLineEnds ? runEnd(text, end, classes, ofAny: UnicodeClasses.newline) : end
  }

  /// `\s*[\r\n]+|\s+(?!\S)|\s+`: a run of white space up to its last line end, or all of it but the last
  /// scalar.
  ///
  /// What is left after the last line end holds no line end, so no stretch is looked at more than twice.
  static func lineOrSpaceEnd(_ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses) -> Int {
    var end = start
    var lineEnd = start
    while end < text.count {
      let scalar = classes.read(text, end)
      if scalar.flags & UnicodeClasses.space == 0 { break }
      end += scalar.count
      if scalar.flags & UnicodeClasses.newline != 0 { lineEnd = end }
    }
    return lineEnd > start ? lineEnd : whiteSpaceEnd(text, from: start, runEnd: end)
  }

  /// Lengths of the contraction that begins at `index` with an apostrophe (`'s`, `'re`, ...), 0 when there is
  /// none.
  ///
  /// With `ignoringCase` the long s U+017F counts as an s, as simple case folding has it; no other scalar
  /// folds to one of these letters.
  static func contractionCount(_ text: Span<UInt8>, _ index: Int, ignoringCase: Bool) -> Int {
    guard text[index] == UInt8(ascii: "'"), index + 1 < text.count else { return 0 }
    let mask: UInt8 = ignoringCase ? 0x20 : 0
    let first = text[index + 1]
    switch first | mask {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return 2
    default: break
    }
    guard index + 2 < text.count else { return 0 }
    let second = text[index + 2]
    if ignoringCase, first == 0xC5, second == 0xBF { return 3 }
    switch (first | mask, second | mask) {
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
      (UInt8(ascii: "l"), UInt8(ascii: "l")):
      return 3
    default: return 0
    }
  }

  /// The end of the run, at or after `index`, of scalars whose flags under `mask` equal `flags`, of at most
  /// `limit` scalars.
  @inline(__always)
  static func runEnd(
    _ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses, mask: UInt16, equals flags: UInt16,
    limit: Int = .max
  ) -> Int {
    var index = index
    var remaining = limit
    while remaining > 0, index < text.count {
      let scalar = classes.read(text, index)
      if scalar.flags & mask != flags { break }
      index += scalar.count
      remaining -= 1
    }
    return index
  }

  /// The end of the run, at or after `index`, of scalars that are in any class of `mask`.
  @inline(__always)
  static func runEnd(
    _ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses, ofAny mask: UInt16
  ) -> Int {
    var index = index
    while index < text.count {
      let scalar = classes.read(text, index)
      if scalar.flags & mask == 0 { break }
      index += scalar.count
    }
    return index
  }

  /// The end of a run of white space that begins at `start` when nothing else matches there: `\s+(?!\S)|\s+`.
  ///
  /// The last white space before something else is left for the next piece, unless it is the only one.
  static func whiteSpaceEnd(_ text: Span<UInt8>, from start: Int, runEnd end: Int) -> Int {
    if end == text.count { return end }
    let last = UnicodeClasses.start(before: end, in: text)
    return last > start ? last : end
  }
}
