extension SplitPattern {
  private static let notPrefix = UnicodeClasses.newline | UnicodeClasses.letter | UnicodeClasses.number

  /// The pattern of GPT-4o, which splits words where an uppercase letter follows a lowercase one. With
  /// U = `\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}` and W = `\p{Ll}\p{Lm}\p{Lo}\p{M}`:
  /// `[^\r\n\p{L}\p{N}]?[U]*[W]+(?i:'s|...)?|[^\r\n\p{L}\p{N}]?[U]+[W]*(?i:'s|...)?|\p{N}{1,3}|
  /// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
  static func caseEnd(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses, digitLimit: Int, hasContractions: Bool
  ) -> Int {
    let first = classes.read(text, start)
    let next = start + first.count
    if let word = caseWordEnd(text, start, first.flags, next, classes) {
      guard hasContractions, word < text.count else { return word }
      return word + contractionCount(text, word, ignoringCase: true)
    }
    if first.flags & UnicodeClasses.number != 0 {
      return runEnd(
        text, next, classes, mask: UnicodeClasses.number, equals: UnicodeClasses.number, limit: digitLimit - 1
      )
    }
    if text[start] == 0x20, next < text.count {
      let second = classes.read(text, next)
      if second.flags & anyClass == 0 { return slashedEnd(text, next + second.count, classes) }
    }
    if first.flags & UnicodeClasses.space == 0 { return slashedEnd(text, next, classes) }
    return lineOrSpaceEnd(text, start, classes)
  }

  /// The end of the word that begins at `start`, with the scalar before it that the pattern allows; nil when
  /// none does.
  private static func caseWordEnd(
    _ text: Span<UInt8>, _ start: Int, _ flags: UInt16, _ next: Int, _ classes: UnicodeClasses
  ) -> Int? {
    let isPrefix = flags & notPrefix == 0 && next < text.count
    // In this order: with lowercase letters, with and without the scalar before; then without them.
    var upperEnd: Int?
    if isPrefix {
      let (end, upper) = lowerWordEnd(text, next, classes)
      if let end { return end }
      upperEnd = upper
    }
    let isWord = flags & (UnicodeClasses.letter | UnicodeClasses.mark) != 0
    guard isWord else { return upperEnd }
    let (end, upper) = lowerWordEnd(text, start, classes)
    return end ?? upperEnd ?? upper
  }

  /// The end of `[U]*[W]+` at `start`, nil when it does not match, and the end of `[U]+` when that matches.
  private static func lowerWordEnd(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses
  ) -> (end: Int?, upperEnd: Int?) {
    let word = UnicodeClasses.letter | UnicodeClasses.mark
    var index = start
    // The end of the last scalar of the run of U that is of W too.
    var lastBoth: Int?
    while index < text.count {
      let scalar = classes.read(text, index)
      if scalar.flags & word == 0 || scalar.flags & UnicodeClasses.lowercase != 0 { break }
      index += scalar.count
      if scalar.flags & UnicodeClasses.uppercase == 0 { lastBoth = index }
    }
    let upperEnd = index
    while index < text.count {
      let scalar = classes.read(text, index)
      if scalar.flags & word == 0 || scalar.flags & UnicodeClasses.uppercase != 0 { break }
      index += scalar.count
    }
    if index > upperEnd { return (index, upperEnd) }
    return (lastBoth, upperEnd > start ? upperEnd : nil)
  }

  /// The rest of `[^\s\p{L}\p{N}]+[\r\n/]*`.
  private static func slashedEnd(_ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses) -> Int {
    var end = runEnd(text, index, classes, mask: anyClass, equals: 0)
    while end < text.count, [0x0D, 0x0A, 0x2F].contains(text[end]) { end += 1 }
    return end
  }
}
