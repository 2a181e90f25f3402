/// Patterns that parts of `tokenizer.json` other than Split have.
extension SplitPattern {
  /// Single scalars of white space.
  static let spaces = SplitPattern(
    name: "spaces", texts: [#"\s"#], method: .somewhere(classRun(category(UnicodeClasses.space), limit: 1)))

  private static let isSign: ScalarClass = { value, flags in
    flags & UnicodeClasses.punctuation != 0 || value < 0x80 && flags & UnicodeClasses.symbol != 0
  }

  /// Single punctuation characters, and all signs of ASCII.
  static let signs = SplitPattern(name: "signs", texts: [], method: .somewhere(classRun(isSign, limit: 1)))

  /// `\w+|[^\w\s]+`.
  static let wordsAndSigns = SplitPattern(
    name: "words-and-signs", texts: [],
    method: .somewhere { text, start, classes in
      let (value, count) = UnicodeClasses.scalar(text, start)
      if classes.flags(of: value) & UnicodeClasses.space != 0 { return start }
      let isWord = UnicodeClasses.isWord(value)
      var index = start + count
      while index < text.count {
        let (value, count) = UnicodeClasses.scalar(text, index)
        if classes.flags(of: value) & UnicodeClasses.space != 0 || UnicodeClasses.isWord(value) != isWord {
          break
        }
        index += count
      }
      return index
    })

  /// A text that is not empty, as it stands.
  static func literal(_ bytes: [UInt8]) -> SplitPattern {
    SplitPattern(
      name: String(decoding: bytes, as: UTF8.self), texts: [],
      method: .ranges { text, _, ranges in
        var index = 0
        while index + bytes.count <= text.count {
          if bytes.indices.allSatisfy({ text[index + $0] == bytes[$0] }) {
            ranges.append(index..<index + bytes.count)
            index += bytes.count
          } else {
            index += 1
          }
        }
      })
  }
}
