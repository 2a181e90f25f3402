import Architectures
import Evaluation
import Execution
import Kernels
import Pipeline
import SafeIO
import TensorCore

extension BenchCommand {
  /// Every variant in turn in each round, a few tokens at a time, and each time in another order, so that a busy moment of the machine
  /// meets all of them, and none always has the cache as the same other one leaves it. What is compared are times of one turn.
  func measureAblation(_ path: String) throws {
    let model = try ModelFormats.load(path)
    for warning in model.warnings { Console.warn(warning) }
    let ablation = try Ablation(model, options: inference.options(for: model))
    let (prompt, count) = (prompts.values.first ?? 0, generated.values.first ?? 0)
    // One crew for all: threads of others would have to wake up in each turn.
    let pool = inference.execution.pool()
    var runs = ablation.variants.map {
      AblationRun(variant: $0, pool: pool, vocabulary: model.summary.sizes.vocabularySize)
    }
    let bar = ProgressBar("ablate")
    var generator = SplitMix64(seed: 0)
    for round in 0...repetitions {
      for number in runs.indices.shuffled(using: &generator) where prompt > 0 {
        try Interruption.check()
        try runs[number].measurePrompt(prompt, counts: round > 0)
      }
      for number in runs.indices { runs[number].begin(counts: round > 0 && count > 0) }
      for start in stride(from: 0, to: count, by: Self.tokensInTurn) {
        try Interruption.check()
        for number in runs.indices.shuffled(using: &generator) {
          try runs[number].generate(start..<min(start + Self.tokensInTurn, count), counts: round > 0)
        }
        try bar.update((Double(round) + Double(start) / Double(count)) / Double(repetitions + 1))
      }
      try bar.update(Double(round + 1) / Double(repetitions + 1))
    }
    Console.finishProgress()
    if format == .json {
      return try Console.print(
        .array(runs.map { .object($0.json(prompt: prompt, generated: count, best: runs[0])) }))
    }
    try printAblation(runs, prompt, count)
    if !ablation.idlePasses.isEmpty {
      Console.note("passes that did not fire: " + ablation.idlePasses.joined(separator: ", "))
    }
  }

  /// Tokens that a variant generates before the next one does.
  private static let tokensInTurn = 8

  private func printAblation(_ runs: [AblationRun], _ prompt: Int, _ count: Int) throws {
    var table = TextTable(
      [
        "variant", "nodes", "arena/token", "arena", "pp\(prompt) t/s", "of all", "rounds", "tg\(count) t/s",
        "of all",
        "rounds",
      ], alignments: [.leading])
    func cells(_ speed: Double, _ ratio: PairedRatio) -> [String] {
      guard speed > 0 else { return ["", "", ""] }
      return [
        NumberFormat.fixed(speed, 1), NumberFormat.fixed(ratio.median, 3),
        "\(NumberFormat.fixed(ratio.range.lowerBound, 2))-\(NumberFormat.fixed(ratio.range.upperBound, 2))",
      ]
    }
    for run in runs {
      table.addRow(
        [
          run.variant.name, "\(run.variant.nodeCount)", NumberFormat.bytes(run.variant.arenaByteCount),
          NumberFormat.bytes(run.arenaByteCount),
        ] + cells(run.prefillSpeed(prompt), PairedRatio(run.prefill, to: runs[0].prefill))
          + cells(run.decodeSpeed, PairedRatio(run.decode, to: runs[0].decode)))
    }
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
    noteWhole(runs)
  }

  /// What everything together is worth.
  private func noteWhole(_ runs: [AblationRun]) {
    guard let all = runs.first, let none = runs.last else { return }
    func text(_ ratio: PairedRatio) -> String {
      "\(NumberFormat.fixed(ratio.median, 2)) times as fast (rounds: \(NumberFormat.fixed(ratio.range.lowerBound, 2)) to \(NumberFormat.fixed(ratio.range.upperBound, 2)))"
    }
    var parts: [String] = []
    let (prefill, decode) = (
      PairedRatio(all.prefill, to: none.prefill), PairedRatio(all.decode, to: none.decode)
    )
    if prefill.median > 0 { parts.append("prompts are " + text(prefill)) }
    if decode.median > 0 { parts.append("tokens one at a time are " + text(decode)) }
    if none.arenaByteCount > 0 {
      let share = Double(all.arenaByteCount) / Double(none.arenaByteCount)
      parts.append("the arena is \(NumberFormat.fixed(share, 3)) times as large")
    }
    Console.note("with everything, against nothing: " + parts.joined(separator: ", "))
  }
}

/// One variant at work.
struct AblationRun {
  let variant: Ablation.Variant
  private let session: Session
  private let vocabulary: Int
  /// Seconds of the prompt, by round.
  private(set) var prefill: [[Double]] = []
  /// Seconds of a token, by round and turn: the median of the turn.
  private(set) var decode: [[Double]] = []

  init(variant: Ablation.Variant, pool: ThreadPool, vocabulary: Int) {
    self.variant = variant
    self.vocabulary = max(vocabulary, 1)
    session = Session(program: variant.program, pool: pool)
  }

  private func token(_ index: Int) -> Int32 { Int32((index &* 7919 &+ 13) % vocabulary) }

  mutating func measurePrompt(_ prompt: Int, counts isCounted: Bool) throws {
    session.truncate(to: 0)
    let time = try ContinuousClock().measure {
      try unsafe session.forward((0..<prompt).map(token)) { _ in }
    }
    if isCounted { prefill.append([time / .seconds(1)]) }
  }

  /// Begins a round.
  mutating func begin(counts isCounted: Bool) {
    session.truncate(to: 0)
    if isCounted { decode.append([]) }
  }

  mutating func generate(_ tokens: Range<Int>, counts isCounted: Bool) throws {
    let seconds = try tokens.map { index in
      try ContinuousClock().measure { try unsafe session.forward([token(index)]) { _ in } } / .seconds(1)
    }
    if isCounted { decode[decode.count - 1].append(PairedRatio.median(seconds)) }
  }

  /// Bytes of the arena at its largest.
  var arenaByteCount: Int { session.arenaByteCount }

  /// Prompt tokens a second in the median round; 0 when not measured.
  func prefillSpeed(_ prompt: Int) -> Double {
    Self.rate(prompt, PairedRatio.median(prefill.joined().map { $0 }))
  }

  /// Generated tokens a second in the median turn; 0 when not measured.
  var decodeSpeed: Double { Self.rate(1, PairedRatio.median(decode.joined().map { $0 })) }

  private static func rate(_ count: Int, _ seconds: Double) -> Double {
    seconds > 0 ? Double(count) / seconds : 0
  }

  func json(prompt: Int, generated: Int, best: AblationRun) -> JSONObject {
    let prefillRatio = PairedRatio(prefill, to: best.prefill)
    let decodeRatio = PairedRatio(decode, to: best.decode)
    return [
      "variant": .string(variant.name), "nodes": JSONValue(variant.nodeCount),
      "arena_bytes_per_token": JSONValue(variant.arenaByteCount), "arena_bytes": JSONValue(arenaByteCount),
      "n_prompt": JSONValue(prompt), "prefill_ts": .number(prefillSpeed(prompt)),
      "n_gen": JSONValue(generated), "decode_ts": .number(decodeSpeed),
      "prefill_of_all": .number(prefillRatio.median), "decode_of_all": .number(decodeRatio.median),
      "prefill_samples_ts": .array(prefill.joined().map { .number(Self.rate(prompt, $0)) }),
      "decode_samples_ts": .array(decode.map { .number(Self.rate(1, PairedRatio.median($0))) }),
    ]
  }
}
