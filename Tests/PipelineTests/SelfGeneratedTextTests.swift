import Architectures
import Calibration
import Execution
import Glibc
import Kernels
import Pipeline
import TestSupport
import Testing

@Suite struct SelfGeneratedTextTests {
  private let model: LoadedModel
  private let text: CalibrationWindows

  init() throws {
    model = try TestModels.acorn()
    text = try TestModels.windows(model, count: 2, length: 96)
  }

  private func written(_ count: Int, threads: Int = 2) throws -> [[Int32]] {
    let all = try SelfGeneratedText(model, threadCount: threads, kernels: .best).windows(count, after: text) {
      _ in
    }
    #expect(Array(all.windows.prefix(text.windows.count)) == text.windows)
    return Array(all.windows.dropFirst(text.windows.count))
  }

  @Test func everyWindowGoesOnFromAPartOfTheText() throws {
    let begin = try #require(model.beginOfSequence)
    let stream = text.windows.flatMap { $0.dropFirst() }
    let promptLength = SelfGeneratedText.promptLength(of: 96)
    #expect(promptLength == 48 && SelfGeneratedText.promptLength(of: 3) == 2)
    let own = try written(5)
    #expect(own.count == 5 && Set(own).count == 5)
    var places: [Int] = []
    for window in own {
      #expect(window.count == 96 && window[0] == begin)
      let prompt = window[1..<promptLength]
      let place = try #require(
        (0...stream.count - prompt.count).first { stream[$0...].starts(with: prompt) })
      #expect(window[promptLength...] != stream[place...].dropFirst(prompt.count).prefix(48))
      places.append(place)
    }
    #expect(places == (0..<5).map { $0 * (stream.count - promptLength + 1) / 5 })
  }

  /// More windows are other ones, and none goes on from what the model wrote.
  @Test func moreWindowsAreOthers() throws {
    let writer = try SelfGeneratedText(model, threadCount: 2, kernels: .best)
    let some = try writer.windows(3, after: text) { _ in }
    let more = try writer.windows(3, after: some) { _ in }
    #expect(more.selfGeneratedCount == 6 && Array(more.windows.prefix(5)) == some.windows)
    let promptLength = SelfGeneratedText.promptLength(of: 96)
    for (first, second) in zip(some.windows.dropFirst(2), more.windows.dropFirst(5)) {
      #expect(first.prefix(promptLength) == second.prefix(promptLength) && first != second)
    }
  }

  /// Where the model ends a text, that of the corpus goes on, and no token says where.
  @Test func endsOfTextsAreBeginningsOfOthers() throws {
    let directory = TemporaryDirectory()
    try TestModels.writeTiny(to: directory)
    let tiny = try ModelFormats.load(directory.path)
    let text = TestModels.tinyWindows(count: 4, length: 120)
    let ends = tiny.summary.sizes.eosTokens
    #expect(!ends.isEmpty)
    let clean = CalibrationWindows(windows: text.windows.map { $0.map { ends.contains($0) ? 9 : $0 } })
    let all = try SelfGeneratedText(tiny, threadCount: 2, kernels: .best).windows(48, after: clean) { _ in }
    #expect(all.selfGeneratedCount == 48)
    let own = all.windows.dropFirst(4)
    #expect(own.allSatisfy { $0.count == 120 && !$0.contains(where: ends.contains) })
    // A random model draws each of 48 tokens now and then: windows hold what followed their prompt.
    let begin = tiny.beginOfSequence.map { [$0] } ?? []
    let stream = clean.windows.flatMap { $0.starts(with: begin) ? $0.dropFirst(begin.count) : $0[...] }
    let promptLength = SelfGeneratedText.promptLength(of: 120) - begin.count
    let following = own.enumerated().filter { number, window in
      let place = number * (stream.count - promptLength) / 48 + promptLength
      let beginning = Array(stream[place..<place + 8])
      return (promptLength..<112).contains { Array(window[$0..<$0 + 8]) == beginning }
    }
    #expect(following.count >= 3, "\(following.count) of 48")
  }

  /// A text of one window is enough, and one of a token.
  @Test(arguments: [2, 3, 4]) func shortTextsDo(length: Int) throws {
    let short = CalibrationWindows(windows: [Array(text.windows[0].prefix(length))])
    let all = try SelfGeneratedText(model, threadCount: 2, kernels: .best).windows(3, after: short) { _ in }
    #expect(all.windows.count == 4 && all.windows.allSatisfy { $0.count == length })
  }

  @Test func threadsChangeNothing() throws {
    #expect(try written(3, threads: 1) == written(3, threads: 3))
  }

  /// Drawn from the predictions: as unlikely as these are uncertain, which neither the likeliest tokens nor tokens by chance are.
  @Test func tokensAreAsUnlikelyAsThePredictionsAreUncertain() throws {
    let session = Session(program: try LanguageModel(model).program, pool: ThreadPool(threadCount: 2))
    var (surprise, entropy, count) = (0.0, 0.0, 0.0)
    for window in try written(8) {
      session.truncate(to: 0)
      for (place, token) in window.dropLast().enumerated() {
        try unsafe session.forward([token]) { logits in
          guard place >= SelfGeneratedText.promptLength(of: 96) - 1 else { return }
          let top = unsafe logits.max() ?? 0
          let weights = unsafe logits.map { exp(Double($0 - top)) }
          let sum = weights.reduce(0, +)
          surprise -= log(weights[Int(window[place + 1])] / sum)
          entropy -= weights.reduce(0) { $1 > 0 ? $0 + $1 / sum * log($1 / sum) : $0 }
          count += 1
        }
      }
    }
    #expect(count == 8 * 48)
    #expect(entropy / count > 1)
    #expect(abs(surprise / entropy - 1) < 0.15, "\(surprise / count) of \(entropy / count)")
  }

  @Test func nothingToBeginWithIsNothingToGoOnFrom() throws {
    let none = CalibrationWindows(windows: [])
    let all = try SelfGeneratedText(model, threadCount: 1, kernels: .best).windows(3, after: none) { _ in }
    #expect(all.windows.isEmpty)
  }

  @Test func whoIsInterruptedStops() throws {
    struct Stop: Error {}
    #expect(throws: Stop.self) {
      try SelfGeneratedText(model, threadCount: 2, kernels: .best).windows(4, after: text) { _ in throw Stop()
      }
    }
  }
}
