import Testing
import Tokenizers

@Suite("Unicode classes")
struct UnicodeTests {
  @Test("The table holds what Unicode 16.0 says")
  func table() {
    let letters: Set<Unicode.GeneralCategory> = [
      .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter,
    ]
    let numbers: Set<Unicode.GeneralCategory> = [.decimalNumber, .letterNumber, .otherNumber]
    var wrong: [UInt32] = []
    for value in UInt32(0)...0x10FFFF {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let properties = scalar.properties
      let classes = TokenizerInternals.classes(of: scalar)
      let isKnown = properties.age.map { $0 <= (16, 0) } ?? false
      let category = properties.generalCategory
      if classes.isLetter != (isKnown && letters.contains(category))
        || classes.isNumber != (isKnown && numbers.contains(category))
        || classes.isSpace != properties.isWhitespace
      {
        wrong.append(value)
      }
    }
    #expect(wrong.isEmpty, "\(wrong.prefix(20))")
  }

  @Test("Every split pattern has a name and a text of its own")
  func patterns() {
    let patterns = TokenizerInternals.splitPatterns
    #expect(Set(patterns.map(\.name)).count == patterns.count)
    #expect(Set(patterns.flatMap(\.texts)).count == patterns.map(\.texts.count).reduce(0, +))
  }
}
