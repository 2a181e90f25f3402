import Evaluation
import Testing

@Suite("Windows of a text")
struct WindowTests {
  @Test("255 predictions of 512 tokens")
  func standardWindow() throws {
    let windows = try EvaluationWindows(tokens: (0..<1300).map { Int32($0) }, beginOfSequence: 0)
    #expect(windows.count == 2)
    #expect(windows.tokens.count == 1024)
    #expect(windows.scored == 256..<511)
    #expect(windows.predictionCount == 510)
    #expect(Array(windows.targets(0)) == (257..<512).map { Int32($0) })
    #expect(Array(windows.targets(1)) == (769..<1024).map { Int32($0) })
  }

  @Test("The first token of a window gives way to the begin of sequence and to nothing else")
  func beginOfSequence() throws {
    let tokens: [Int32] = [5, 6, 7, 8, 9, 10, 11]
    let windows = try EvaluationWindows(tokens: tokens, length: 3, beginOfSequence: 99)
    #expect(windows.input(0) == [99, 6, 7])
    #expect(windows.input(1) == [99, 9, 10])
    #expect(windows.tokens == [5, 6, 7, 8, 9, 10])
    let without = try EvaluationWindows(tokens: tokens, length: 3, beginOfSequence: nil)
    #expect(without.input(1) == [8, 9, 10])
  }

  @Test("Odd, smallest and complete windows", arguments: [3, 4, 5, 6, 7, 511])
  func counts(length: Int) throws {
    let tokens = [Int32](repeating: 1, count: length)
    let half = try EvaluationWindows(tokens: tokens, length: length, beginOfSequence: nil)
    #expect(half.scored.count == length - 1 - length / 2)
    let all = try EvaluationWindows(tokens: tokens, length: length, beginOfSequence: nil, scoredPart: .all)
    #expect(all.scored.count == length - 1)
    #expect(all.targets(0).count == length - 1)
  }

  @Test("A limit of windows")
  func limit() throws {
    let tokens = [Int32](repeating: 1, count: 100)
    #expect(try EvaluationWindows(tokens: tokens, length: 10, beginOfSequence: nil, limit: 4).count == 4)
    #expect(try EvaluationWindows(tokens: tokens, length: 10, beginOfSequence: nil, limit: 400).count == 10)
    #expect(throws: EvaluationError.notPositive(option: "the number of chunks", value: 0)) {
      try EvaluationWindows(tokens: tokens, length: 10, beginOfSequence: nil, limit: 0)
    }
  }

  @Test("Texts and windows that are too short")
  func errors() {
    #expect(throws: EvaluationError.textTooShort(tokens: 511, windowLength: 512)) {
      try EvaluationWindows(tokens: [Int32](repeating: 0, count: 511), beginOfSequence: nil)
    }
    #expect(throws: EvaluationError.windowTooShort(length: 2, minimum: 3)) {
      try EvaluationWindows(tokens: [1, 2, 3], length: 2, beginOfSequence: nil)
    }
    #expect(throws: EvaluationError.windowTooShort(length: -1, minimum: 2)) {
      try EvaluationWindows(tokens: [1, 2, 3], length: -1, beginOfSequence: nil, scoredPart: .all)
    }
  }

  @Test("Tokens that the model does not have")
  func vocabulary() throws {
    let windows = try EvaluationWindows(tokens: [1, 2, 9, 3], length: 4, beginOfSequence: 0)
    try windows.validate(vocabularyCount: 10)
    #expect(throws: EvaluationError.tokenOutOfVocabulary(token: 9, position: 2, vocabularyCount: 9)) {
      try windows.validate(vocabularyCount: 9)
    }
    let negative = try EvaluationWindows(tokens: [1, -2, 3], length: 3, beginOfSequence: nil)
    #expect(throws: EvaluationError.self) { try negative.validate(vocabularyCount: 9) }
  }
}
