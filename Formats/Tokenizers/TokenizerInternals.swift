/// What the tests look at besides ids.
package enum TokenizerInternals {
  /// The steps that merging long words takes when `text` is encoded: a number that does not depend on the
  /// machine.
  package static func mergeStepCount(_ tokenizer: any Tokenizer, _ text: [UInt8]) -> Int {
    var stepCount = 0
    if let tokenizer = tokenizer as? PipelineTokenizer {
      _ = try? tokenizer.encode(
        text, addSpecialTokens: false, parseSpecialTokens: false, stepCount: &stepCount)
    }
    return stepCount
  }

  /// Whether the split patterns take a scalar for a letter, a number and white space.
  package static func classes(of scalar: Unicode.Scalar) -> (isLetter: Bool, isNumber: Bool, isSpace: Bool) {
    let flags = UnicodeClasses.shared.flags(of: scalar.value)
    return (
      flags & UnicodeClasses.letter != 0, flags & UnicodeClasses.number != 0,
      flags & UnicodeClasses.space != 0
    )
  }

  /// The names and texts of the split patterns.
  package static var splitPatterns: [(name: String, texts: [String])] {
    SplitPattern.known.map { ($0.name, $0.texts) }
  }
}
