import SafeIO

/// A way to split text: a pattern whose matches are found one after the other, with what lies between them.
///
/// Patterns that tokenizers use widely are known by their exact text and have hand-written scanners that take
/// time linear in the text; any other one is run by PCRE2 within limits. A further known pattern is one row
/// in ``known``.
struct SplitPattern: Sendable {
  /// The end of the match that begins at an index below `text.count`; the index itself when none begins there.
  typealias Match = @Sendable (_ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses) -> Int

  /// How matches are found.
  enum Method: Sendable {
    /// A match begins wherever the last one ended.
    case everywhere(Match)
    /// There may be text between matches.
    case somewhere(Match)
    /// All matches at once, in order.
    case ranges(@Sendable (_ text: Span<UInt8>, _ classes: UnicodeClasses, inout [Range<Int>]) -> Void)
    /// By the general engine.
    case expression(RegularExpression)
  }

  /// A name for messages and tests.
  let name: String
  /// The regular expressions that mean this pattern, as tokenizer.json spells them.
  let texts: [String]
  /// How matches are found.
  let method: Method

  /// Names the spellings and the way.
  init(name: String, texts: [String], method: Method) {
    self.name = name
    self.texts = texts
    self.method = method
  }

  /// The pattern of a regular expression: one with a scanner if its text is known, else the expression itself.
  /// - Throws: ``RegularExpression/Failure`` when the text is no regular expression.
  init(expression: String) throws(RegularExpression.Failure) {
    if let known = Self.byText[ExactString(expression)] {
      self = known
    } else {
      self.init(
        name: expression, texts: [expression], method: .expression(try RegularExpression(expression)))
    }
  }

  private static let byText = Dictionary(
    known.flatMap { pattern in pattern.texts.map { (ExactString($0), pattern) } },
    uniquingKeysWith: { first, _ in first })

  /// Calls `body` with the matches and with what is between them, from left to right.
  ///
  /// Everything but an empty match is not empty; together the ranges are the text.
  /// - Throws: ``TokenizerError/matchLimit(pattern:)``, and what `body` throws.
  func forEachPart(
    _ text: Span<UInt8>, _ body: (_ range: Range<Int>, _ isMatch: Bool) throws(TokenizerError) -> Void
  ) throws(TokenizerError) {
    let classes = UnicodeClasses.shared
    switch method {
    case .everywhere(let match):
      var start = 0
      while start < text.count {
        let end = match(text, start, classes)
        try body(start..<end, true)
        start = end
      }
    case .somewhere(let match):
      var start = 0
      while start < text.count {
        let end = match(text, start, classes)
        if end > start {
          try body(start..<end, true)
          start = end
        } else {
          let next = Self.nextMatch(text, start, classes, match)
          try body(start..<next, false)
          start = next
        }
      }
    case .ranges(let find):
      var ranges: [Range<Int>] = []
      find(text, classes, &ranges)
      try Self.forEachPart(text, ranges, body)
    case .expression(let expression):
      try Self.forEachPart(text, expression.matches(text), body)
    }
  }

  /// Where the next match begins after `start`, where none does; the end when there is none.
  private static func nextMatch(
    _ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses, _ match: Match
  ) -> Int {
    var next = start
    repeat {
      next += classes.read(text, next).count
    } while next < text.count && match(text, next, classes) == next
    return next
  }

  private static func forEachPart(
    _ text: Span<UInt8>, _ matches: [Range<Int>],
    _ body: (_ range: Range<Int>, _ isMatch: Bool) throws(TokenizerError) -> Void
  ) throws(TokenizerError) {
    var start = 0
    for match in matches {
      if start < match.lowerBound { try body(start..<match.lowerBound, false) }
      try body(match, true)
      start = match.upperBound
    }
    if start < text.count { try body(start..<text.count, false) }
  }
}
