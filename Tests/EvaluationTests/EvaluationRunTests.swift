import Evaluation
import Glibc
import Kernels
import LogitBase
import TestSupport
import Testing

/// A model whose logits at a position are a fixed function of the tokens up to it.
struct ToyModel: LanguageModelRunner {
  var vocabularyCount = 29
  var seed: UInt64 = 1
  var noise: Float = 0
  var poisonedPosition: Int?
  var forgetsToAnswer = false

  func logits(_ tokens: [Int32], at position: Int) -> [Float] {
    var hash: UInt64 = seed
    for token in tokens[0...position] { hash = hash &* 31 &+ UInt64(truncatingIfNeeded: token) }
    var generator = SeededGenerator(seed: hash)
    var row = generator.normals(vocabularyCount).map { $0 * 3 }
    if noise > 0 { for index in row.indices { row[index] += noise * generator.normal() } }
    if position == poisonedPosition { row[3] = .nan }
    return row
  }

  func evaluate(
    tokens: [Int32], scored: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> Void
  ) throws {
    if forgetsToAnswer { return }
    let rows = scored.flatMap { logits(tokens, at: $0) }
    try unsafe rows.withUnsafeBufferPointer { try unsafe body($0) }
  }
}

/// Log-probabilities in memory.
struct MemoryBase: BaseDistribution {
  var windowLength: Int
  var vocabularyCount: Int
  var windowCount: Int
  var tokens: [Int32]
  var rows: [[Float]]

  func readLogProbabilities(
    window: Int, scoredIndex: Int, into row: inout [Float]
  ) throws {
    let scoredCount = windowLength - 1 - windowLength / 2
    row = rows[window * scoredCount + scoredIndex]
  }
}

struct Stop: Error {}

@Suite("Evaluations of whole texts")
struct EvaluationRunTests {
  static let text: [Int32] = {
    var generator = SeededGenerator(seed: 42)
    return (0..<331).map { _ in Int32.random(in: 0..<29, using: &generator) }
  }()

  func windows(_ part: ScoredPart = .secondHalf, limit: Int? = nil) throws -> EvaluationWindows {
    try EvaluationWindows(
      tokens: EvaluationRunTests.text, length: 40, beginOfSequence: 0, scoredPart: part, limit: limit)
  }

  @Test("Perplexity equals that of plain loops", arguments: ScoredPart.allCases)
  func perplexity(part: ScoredPart) throws {
    let model = ToyModel()
    let report = try PerplexityEvaluation.run(model: model, windows: windows(part))
    var losses: [Double] = []
    for start in stride(from: 0, to: 320, by: 40) {
      var tokens = Array(EvaluationRunTests.text[start..<start + 40])
      tokens[0] = 0
      for position in (part == .all ? 0 : 20)..<39 {
        let p = ReferenceStatistics.logProbabilities(model.logits(tokens, at: position))
        losses.append(-p[Int(EvaluationRunTests.text[start + position + 1])])
      }
    }
    let mean = losses.reduce(0, +) / Double(losses.count)
    let squares = losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let error = exp(mean) * (squares / Double(losses.count) / Double(losses.count - 1)).squareRoot()
    #expect(report.perplexity.tokens == losses.count)
    #expect(ReferenceStatistics.agree(report.perplexity.perplexity, exp(mean)))
    #expect(ReferenceStatistics.agree(report.perplexity.perplexityError, error, tolerance: 1e-9))
    #expect(report.divergence == nil && report.basePerplexity == nil)
  }

  @Test("A model has no divergence from itself")
  func itself() throws {
    let report = try PerplexityEvaluation.run(
      model: ToyModel(), windows: windows(), base: .model(ToyModel()))
    let divergence = try #require(report.divergence)
    #expect(divergence.mean == 0 && divergence.maximum == 0 && divergence.error == 0)
    #expect(divergence.top1Agreement == 1)
    #expect(report.basePerplexity == report.perplexity)
  }

  @Test("More noise, more divergence; lockstep and pairwise runs agree")
  func comparison() throws {
    let base = ToyModel()
    let noisy = [0.1, 0.5, 2].map { ToyModel(noise: $0) }
    let result = try ComparisonEvaluation.run(
      base: .init(name: "base", runner: base),
      models: noisy.enumerated().map { .init(name: "noisy \($0)", runner: $1) }, windows: windows())
    #expect(try result.base == PerplexityEvaluation.run(model: base, windows: windows()).perplexity)
    for (model, report) in zip(noisy, result.models) {
      #expect(try report == PerplexityEvaluation.run(model: model, windows: windows(), base: .model(base)))
    }
    let means = result.models.compactMap { $0.divergence?.mean }
    #expect(means.count == 3 && means[0] > 0 && means[0] < means[1] && means[1] < means[2])
    #expect(result.models.allSatisfy { $0.basePerplexity == result.base })
  }

  @Test("What was kept serves as a base")
  func stored() throws {
    let windows = try windows()
    var rows: [[Float]] = []
    _ = try PerplexityEvaluation.run(
      model: ToyModel(), windows: windows, saveBase: { row in rows.append(row) })
    #expect(rows.count == windows.predictionCount)
    let base = MemoryBase(
      windowLength: 40, vocabularyCount: 29, windowCount: windows.count, tokens: windows.tokens,
      rows: rows.map { ReferenceStatistics.logProbabilities($0).map { Float($0) } })
    let model = ToyModel(noise: 0.5)
    let report = try PerplexityEvaluation.run(model: model, windows: windows, base: .stored(base))
    let direct = try PerplexityEvaluation.run(model: model, windows: windows, base: .model(ToyModel()))
    let divergence = try #require(report.divergence)
    let other = try #require(direct.divergence)
    #expect(abs(divergence.mean - other.mean) < 1e-5)
    #expect(divergence.top1Agreement == other.top1Agreement)
    #expect(report.perplexity == direct.perplexity)
    #expect(try EvaluationWindows(base: base, beginOfSequence: 0) == windows)
  }

  @Test("A base of another text, length or vocabulary is refused")
  func wrongBase() throws {
    let windows = try windows(limit: 2)
    let good = MemoryBase(
      windowLength: 40, vocabularyCount: 29, windowCount: 2, tokens: windows.tokens,
      rows: [[Float]](repeating: [Float](repeating: -3, count: 29), count: 38))
    func run(_ base: MemoryBase, _ windows: EvaluationWindows) throws {
      _ = try PerplexityEvaluation.run(model: ToyModel(), windows: windows, base: .stored(base))
    }
    try run(good, windows)
    var base = good
    base.tokens[40] += 1  // replaced by the begin of sequence anyway
    try run(base, windows)
    base.tokens[41] += 1
    #expect(throws: EvaluationError.self) { try run(base, windows) }
    base = good
    base.windowLength = 20
    #expect(throws: EvaluationError.self) { try run(base, windows) }
    base = good
    base.windowCount = 1
    #expect(throws: EvaluationError.self) { try run(base, windows) }
    base = good
    base.vocabularyCount = 30
    #expect(throws: EvaluationError.vocabulariesDiffer(base: 30, model: 29)) { try run(base, windows) }
    #expect(throws: EvaluationError.baseNeedsSecondHalf) { try run(good, self.windows(.all)) }
  }

  @Test("Logits that are not finite, missing answers and other vocabularies are errors")
  func badModels() throws {
    #expect(throws: EvaluationError.unusableLogits(model: "the model", window: 0, position: 25)) {
      try PerplexityEvaluation.run(model: ToyModel(poisonedPosition: 25), windows: windows())
    }
    #expect(throws: EvaluationError.unusableLogits(model: "the base", window: 0, position: 22)) {
      try PerplexityEvaluation.run(
        model: ToyModel(), windows: windows(), base: .model(ToyModel(poisonedPosition: 22)))
    }
    #expect(throws: EvaluationError.unusableLogits(model: "second", window: 0, position: 30)) {
      try ComparisonEvaluation.run(
        base: .init(name: "base", runner: ToyModel()),
        models: [
          .init(name: "first", runner: ToyModel(noise: 1)),
          .init(name: "second", runner: ToyModel(poisonedPosition: 30)),
        ], windows: windows())
    }
    #expect(throws: EvaluationError.logitCount(expected: 19 * 29, found: 0)) {
      try PerplexityEvaluation.run(model: ToyModel(forgetsToAnswer: true), windows: windows())
    }
    #expect(throws: EvaluationError.vocabulariesDiffer(base: 29, model: 31)) {
      try ComparisonEvaluation.run(
        base: .init(name: "base", runner: ToyModel()),
        models: [.init(name: "other", runner: ToyModel(vocabularyCount: 31))], windows: windows())
    }
  }

  @Test("Progress counts windows and can stop the run")
  func progress() throws {
    var seen: [Int] = []
    _ = try PerplexityEvaluation.run(model: ToyModel(), windows: windows()) { seen.append($0.windowsDone) }
    #expect(seen == Array(1...8))
    #expect(throws: Stop.self) {
      try PerplexityEvaluation.run(model: ToyModel(), windows: windows()) { _ in throw Stop() }
    }
  }

  @Test("A base file, written and read")
  func baseFile() throws {
    let windows = try windows()
    let directory = TemporaryDirectory()
    let path = directory.file("base.kld")
    let layout = try LogitBaseLayout(windows, vocabularyCount: 29)
    try LogitBaseWriter.write(to: path, layout: layout, tokens: windows.tokens) { append in
      _ = try PerplexityEvaluation.run(model: ToyModel(), windows: windows, saveBase: append)
    }
    let model = ToyModel(noise: 0.5)
    let base = try LogitBaseFile(path: path)
    let report = try PerplexityEvaluation.run(model: model, windows: windows, base: .stored(base))
    let direct = try PerplexityEvaluation.run(model: model, windows: windows, base: .model(ToyModel()))
    let divergence = try #require(report.divergence)
    let other = try #require(direct.divergence)
    // 16-bit steps over a range of at most 16: off by some 1e-4 a token, either way.
    #expect(abs(divergence.mean - other.mean) < 1e-3)
    #expect(divergence.top1Agreement == other.top1Agreement)
    #expect(report.perplexity == direct.perplexity)
  }

  @Test("The number of threads changes nothing", arguments: [1, 2, 3])
  func threads(count: Int) throws {
    let model = ToyModel(noise: 1)
    let serial = try PerplexityEvaluation.run(model: model, windows: windows(), base: .model(ToyModel()))
    let pool = ThreadPool(threadCount: count, isPinned: false)
    let parallel = try PerplexityEvaluation.run(
      model: model, windows: windows(), base: .model(ToyModel()), scheduler: RowScheduler(pool))
    #expect(serial == parallel)
  }

  @Test("The order in which rows are worked on changes nothing")
  func scheduling() throws {
    let backwards = RowScheduler { count, task in
      for index in (0..<count).reversed() { task(index) }
    }
    let model = ToyModel(noise: 1)
    let first = try PerplexityEvaluation.run(model: model, windows: windows(), base: .model(ToyModel()))
    let second = try PerplexityEvaluation.run(
      model: model, windows: windows(), base: .model(ToyModel()), scheduler: backwards)
    #expect(first == second)
  }
}
