extension SplitPattern {
  private static let anyClass = UnicodeClasses.letter | UnicodeClasses.number | UnicodeClasses.space

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

  /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
  /// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, with another number instead of 3.
  static func llama3End(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses, digitLimit: Int
  ) -> Int {
    let contraction = contractionCount(text, start, ignoringCase: true)
    if contraction > 0 { return start + contraction }
    let first = classes.read(text, start)
    let next = start + first.count
    if first.flags & UnicodeClasses.letter != 0 { return lettersEnd(text, next, classes) }
    if first.flags & UnicodeClasses.number != 0 {
      return runEnd(
        text, next, classes, mask: UnicodeClasses.number, equals: UnicodeClasses.number, limit: digitLimit - 1
      )
    }
    if next < text.count, first.flags & UnicodeClasses.newline == 0 {
      let second = classes.read(text, next)
      if second.flags & UnicodeClasses.letter != 0 { return lettersEnd(text, next + second.count, classes) }
      if text[start] == 0x20, second.flags & anyClass == 0 {
        return punctuationEnd(text, next + second.count, classes)
      }
    }
    if first.flags & UnicodeClasses.space == 0 { return punctuationEnd(text, next, classes) }
    return lineOrSpaceEnd(text, start, classes)
  }

  /// `\p{N}{1,n}` or the stretch up to the next number.
  static func digitsEnd(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses, digitLimit: Int
  ) -> Int {
    let isNumber = classes.read(text, start).flags & UnicodeClasses.number
    return runEnd(
      text, start, classes, mask: UnicodeClasses.number, equals: isNumber,
      limit: isNumber == 0 ? .max : digitLimit)
  }

  @inline(__always)
  private static func lettersEnd(_ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses) -> Int {
    runEnd(text, index, classes, mask: UnicodeClasses.letter, equals: UnicodeClasses.letter)
  }

  /// The rest of `[^\s\p{L}\p{N}]+[\r\n]*`.
  private static func punctuationEnd(_ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses) -> Int {
    let end = runEnd(text, index, classes, mask: anyClass, equals: 0)
    return runEnd(text, end, classes, mask: UnicodeClasses.newline, equals: UnicodeClasses.newline)
  }

  /// `\s*[\r\n]+|\s+(?!\S)|\s+`: a run of white space up to its last line end, or all of it but the last
  /// scalar.
  ///
  /// What is left after the last line end holds no line end, so no stretch is looked at more than twice.
  private static func lineOrSpaceEnd(_ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses) -> Int {
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
}
