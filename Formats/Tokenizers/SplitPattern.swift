/// A split pattern that tokenizers of some family use, with a hand-written scanner that gives the same
/// pieces.
///
/// Patterns are known by their exact text: a general regular-expression engine would be slow here and could
/// be made to take exponential time by a hostile file. A further pattern is one row in ``all``.
struct SplitPattern: Sendable {
  /// A name for messages and tests.
  let name: String
  /// The regular expression as tokenizer.json spells it.
  let text: String
  /// The end of the piece that begins at an index below `text.count`; always above that index.
  ///
  /// Runs in time linear in the text over all calls.
  let end: @Sendable (_ text: Span<UInt8>, _ start: Int, _ classes: UnicodeClasses) -> Int

  /// Every pattern there is.
  static let all: [SplitPattern] = [gpt2, llama3, qwen2, singleDigits, digitTriples, digitRuns]

  /// GPT-2 and everything that uses ByteLevel with `use_regex`.
  static let gpt2 = SplitPattern(
    name: "gpt2",
    text: #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
    end: { text, start, classes in gpt2End(text, start, classes) })

  /// Llama 3: numbers in groups of three, line ends kept with what is before them.
  static let llama3 = SplitPattern(
    name: "llama3",
    text: #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"#
      + #" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
    end: { text, start, classes in llama3End(text, start, classes, digitLimit: 3) })

  /// Qwen 2: as Llama 3, but every digit on its own.
  static let qwen2 = SplitPattern(
    name: "qwen2",
    text: #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"#
      + #" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
    end: { text, start, classes in llama3End(text, start, classes, digitLimit: 1) })

  /// Every digit on its own, and what is between them.
  static let singleDigits = SplitPattern(
    name: "single-digits", text: #"\p{N}"#,
    end: { text, start, classes in digitsEnd(text, start, classes, digitLimit: 1) })

  /// Numbers in groups of up to three, and what is between them.
  static let digitTriples = SplitPattern(
    name: "digit-triples", text: #"\p{N}{1,3}"#,
    end: { text, start, classes in digitsEnd(text, start, classes, digitLimit: 3) })

  /// Whole numbers, and what is between them.
  static let digitRuns = SplitPattern(
    name: "digit-runs", text: #"\p{N}+"#,
    end: { text, start, classes in digitsEnd(text, start, classes, digitLimit: .max) })

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
    _ text: Span<UInt8>, _ index: Int, _ classes: UnicodeClasses, mask: UInt8, equals flags: UInt8,
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

  /// The end of a run of white space that begins at `start` when nothing else matches there: `\s+(?!\S)|\s+`.
  ///
  /// The last white space before something else is left for the next piece, unless it is the only one.
  static func whiteSpaceEnd(_ text: Span<UInt8>, from start: Int, runEnd end: Int) -> Int {
    if end == text.count { return end }
    let last = UnicodeClasses.start(before: end, in: text)
    return last > start ? last : end
  }
}
