import Calibration
import TensorCore
import Testing

@Suite struct CalibrationWindowsTests {
  let tokens = (0..<105).map(Int32.init)

  @Test func seedZeroTakesTheFirstWindows() throws {
    let cut = try CalibrationWindows(tokens: tokens, count: 3, length: 10, beginOfSequence: nil, seed: 0)
    #expect(cut.windows == [Array(0..<10), Array(10..<20), Array(20..<30)])
    #expect(cut.tokenCount == 30)
  }

  @Test func beginOfSequenceTakesTheFirstPlace() throws {
    let cut = try CalibrationWindows(tokens: tokens, count: 2, length: 4, beginOfSequence: 7, seed: 0)
    #expect(cut.windows == [[7, 1, 2, 3], [7, 5, 6, 7]])
  }

  @Test func seedsDrawWithoutRepetition() throws {
    let first = try CalibrationWindows(tokens: tokens, count: 10, length: 10, beginOfSequence: nil, seed: 1)
    let again = try CalibrationWindows(tokens: tokens, count: 10, length: 10, beginOfSequence: nil, seed: 1)
    let other = try CalibrationWindows(tokens: tokens, count: 10, length: 10, beginOfSequence: nil, seed: 2)
    #expect(first.windows == again.windows)
    #expect(first.windows != other.windows)
    for cut in [first, other] {
      let starts = cut.windows.map { Int($0[0]) }
      #expect(starts.sorted() == Array(stride(from: 0, to: 100, by: 10)))
      #expect(starts != starts.sorted())
      for (start, window) in zip(starts, cut.windows) { #expect(window == Array(tokens[start..<start + 10])) }
    }
    let few = try CalibrationWindows(tokens: tokens, count: 3, length: 10, beginOfSequence: nil, seed: 1)
    #expect(few.windows == Array(first.windows.prefix(3)))
  }

  @Test func shortCorporaGiveFewerWindows() throws {
    let cut = try CalibrationWindows(tokens: tokens, count: 1000, length: 50, beginOfSequence: nil, seed: 0)
    #expect(cut.windows.count == 2)
    let whole = try CalibrationWindows(tokens: tokens, count: 1, length: 105, beginOfSequence: nil, seed: 9)
    #expect(whole.windows == [tokens])
  }

  @Test(arguments: [(1, 106), (0, 10), (-1, 10), (1, 0), (1, -5), (1, Int.max)])
  func tooLittleTextIsRefused(count: Int, length: Int) throws {
    let error = try #require(throws: CalibrationError.self) {
      try CalibrationWindows(tokens: tokens, count: count, length: length, beginOfSequence: 1, seed: 0)
    }
    #expect(error.diagnostic.code == "calibration.corpus-too-short")
    #expect(error.diagnostic.found == "105")
    #expect(throws: CalibrationError.self) {
      try CalibrationWindows(tokens: [], count: 1, length: 1, beginOfSequence: nil, seed: 0)
    }
  }
}
