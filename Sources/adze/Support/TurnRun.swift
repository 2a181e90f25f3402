import Evaluation
import Execution
import Kernels
import Pipeline
import TensorCore

/// One program that is measured in turn with others.
struct TurnRun {
  private let session: Session
  private let vocabulary: Int
  private let depth: Int
  /// Seconds of the prompt, by round.
  private(set) var prefill: [[Double]] = []
  /// Seconds of a token, by round and turn: the median of the turn.
  private(set) var decode: [[Double]] = []

  /// - Parameter depth: tokens in the cache before each prompt and each generation.
  init(_ program: Program, pool: ThreadPool, vocabulary: Int, depth: Int) throws {
    self.vocabulary = max(vocabulary, 1)
    self.depth = depth
    session = Session(program: program, pool: pool)
    if depth > 0 { try unsafe session.forward((0..<depth).map(token)) { _ in } }
  }

  private func token(_ index: Int) -> Int32 { Int32((index &* 7919 &+ 13) % vocabulary) }

  private func rewind() throws {
    session.truncate(to: depth)
    try session.refill()
  }

  fileprivate mutating func measurePrompt(_ prompt: Int, counts isCounted: Bool) throws {
    try rewind()
    let time = try ContinuousClock().measure {
      try unsafe session.forward((0..<prompt).map { token(depth + $0) }) { _ in }
    }
    if isCounted { prefill.append([time / .seconds(1)]) }
  }

  /// Begins a round of generation.
  fileprivate mutating func begin(counts isCounted: Bool) throws {
    try rewind()
    if isCounted { decode.append([]) }
  }

  fileprivate mutating func generate(_ tokens: Range<Int>, counts isCounted: Bool) throws {
    let seconds = try tokens.map { index in
      try ContinuousClock().measure { try unsafe session.forward([token(depth + index)]) { _ in } }
        / .seconds(1)
    }
    if isCounted { decode[decode.count - 1].append(PairedRatio.median(seconds)) }
  }

  /// Bytes of the arena at its largest.
  var arenaByteCount: Int { session.arenaByteCount }

  /// Bytes of the cache at its largest.
  var cacheByteCount: Int { session.cacheByteCount }

  /// Prompt tokens a second in the median round; 0 when not measured.
  func prefillSpeed(_ prompt: Int) -> Double {
    Self.rate(prompt, PairedRatio.median(prefill.joined().map { $0 }))
  }

  /// Generated tokens a second in the median turn; 0 when not measured.
  var decodeSpeed: Double { Self.rate(1, PairedRatio.median(decode.joined().map { $0 })) }

  /// Tokens a second of each round: of the prompt, and of generation.
  func samples(prompt: Int) -> (prefill: [Double], decode: [Double]) {
    (
      prefill.joined().map { Self.rate(prompt, $0) },
      decode.map { Self.rate(1, PairedRatio.median($0)) }
    )
  }

  private static func rate(_ count: Int, _ seconds: Double) -> Double {
    seconds > 0 ? Double(count) / seconds : 0
  }
}

extension [TurnRun] {
  /// Tokens that a run generates before the next one does.
  private static var tokensInTurn: Int { 8 }

  /// Every run in turn in each round, a few tokens at a time, and each time in another order, so that a busy moment of the machine
  /// meets all of them, and none always has the cache as the same other one leaves it. What is compared are times of one turn.
  /// One round before is not counted.
  /// - Parameters:
  ///   - prompt: tokens at once; 0 for none.
  ///   - generated: tokens one after another; 0 for none.
  ///   - progress: called with the part that is done.
  mutating func measure(
    prompt: Int, generated: Int, repetitions: Int, progress: (Double) throws -> Void
  ) throws {
    var generator = SplitMix64(seed: 0)
    for round in 0...repetitions {
      for number in indices.shuffled(using: &generator) where prompt > 0 {
        try Interruption.check()
        try self[number].measurePrompt(prompt, counts: round > 0)
      }
      for number in indices where generated > 0 { try self[number].begin(counts: round > 0) }
      for start in stride(from: 0, to: generated, by: Self.tokensInTurn) {
        try Interruption.check()
        for number in indices.shuffled(using: &generator) {
          try self[number].generate(
            start..<Swift.min(start + Self.tokensInTurn, generated), counts: round > 0)
        }
        try progress((Double(round) + Double(start) / Double(generated)) / Double(repetitions + 1))
      }
      try progress(Double(round + 1) / Double(repetitions + 1))
    }
  }
}
