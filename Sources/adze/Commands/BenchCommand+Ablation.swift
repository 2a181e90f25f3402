import Architectures
import Evaluation
import Execution
import Kernels
import Pipeline
import SafeIO

extension BenchCommand {
  /// Every variant in turn in each round, a few tokens at a time, so that a busy moment of the machine meets all of them; medians, and
  /// how far rounds lie apart.
  func measureAblation(_ path: String) throws {
    let model = try ModelFormats.load(path)
    for warning in model.warnings { Console.warn(warning) }
    let ablation = try Ablation(model, options: inference.options(for: model))
    let (prompt, count) = (prompts.values.first ?? 0, generated.values.first ?? 0)
    var runs = ablation.variants.map {
      AblationRun(
        variant: $0, pool: inference.execution.pool(), vocabulary: model.summary.sizes.vocabularySize)
    }
    let bar = ProgressBar("ablate")
    for round in 0...repetitions {
      // Each round begins with another variant.
      let order = runs.indices.map { ($0 + round) % runs.count }
      for number in order where prompt > 0 {
        try Interruption.check()
        try runs[number].measurePrompt(prompt, counts: round > 0)
      }
      for number in order { runs[number].begin(count, counts: round > 0) }
      for start in stride(from: 0, to: count, by: Self.tokensInTurn) {
        try Interruption.check()
        for number in order {
          try runs[number].generate(start..<min(start + Self.tokensInTurn, count), counts: round > 0)
        }
      }
      try bar.update(Double(round) / Double(repetitions))
    }
    Console.finishProgress()
    if format == .json {
      return try Console.print(.array(runs.map { .object($0.json(prompt: prompt, generated: count)) }))
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
        "variant", "nodes", "arena/token", "arena", "pp\(prompt) t/s", "of all", "tg\(count) t/s", "of all",
      ], alignments: [.leading])
    func cells(_ speed: AblationRun.Speed, _ best: AblationRun.Speed) -> [String] {
      guard speed.median > 0 else { return ["", ""] }
      return [
        "\(NumberFormat.fixed(speed.median, 1)) ± \(NumberFormat.fixed(speed.deviation, 1))",
        NumberFormat.fixed(speed.median / best.median, 3),
      ]
    }
    for run in runs {
      table.addRow(
        [
          run.variant.name, "\(run.variant.nodeCount)", NumberFormat.bytes(run.variant.arenaByteCount),
          NumberFormat.bytes(run.arenaByteCount),
        ] + cells(run.prefill, runs[0].prefill) + cells(run.decode, runs[0].decode))
    }
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
  }
}

/// One variant at work.
struct AblationRun {
  let variant: Ablation.Variant
  private let session: Session
  private let vocabulary: Int
  private var prefillSeconds: [Double] = []
  /// Seconds of each generated token, by round.
  private var tokenSeconds: [[Double]] = []
  private var counts = (prompt: 0, generated: 0)

  init(variant: Ablation.Variant, pool: ThreadPool, vocabulary: Int) {
    self.variant = variant
    self.vocabulary = max(vocabulary, 1)
    session = Session(program: variant.program, pool: pool)
  }

  private func token(_ index: Int) -> Int32 { Int32((index &* 7919 &+ 13) % vocabulary) }

  mutating func measurePrompt(_ prompt: Int, counts isCounted: Bool) throws {
    counts.prompt = prompt
    session.truncate(to: 0)
    let time = try ContinuousClock().measure {
      try unsafe session.forward((0..<prompt).map(token)) { _ in }
    }
    if isCounted { prefillSeconds.append(time / .seconds(1)) }
  }

  /// Begins a round.
  mutating func begin(_ generated: Int, counts isCounted: Bool) {
    counts.generated = generated
    session.truncate(to: 0)
    if isCounted, generated > 0 { tokenSeconds.append([]) }
  }

  mutating func generate(_ tokens: Range<Int>, counts isCounted: Bool) throws {
    for index in tokens {
      let time = try ContinuousClock().measure { try unsafe session.forward([token(index)]) { _ in } }
      if isCounted { tokenSeconds[tokenSeconds.count - 1].append(time / .seconds(1)) }
    }
  }

  /// Bytes of the arena at its largest.
  var arenaByteCount: Int { session.arenaByteCount }
  /// Prompt tokens a second.
  var prefill: Speed { Speed(prefillSeconds.map { Double(counts.prompt) / $0 }) }
  /// Generated tokens a second: each token by the median of the rounds.
  var decode: Speed {
    var speed = Speed(decodeSamples)
    let medians = (0..<counts.generated).map { index in
      Speed.median(tokenSeconds.map { $0[index] })
    }
    speed.median = medians.isEmpty ? 0 : Double(medians.count) / medians.reduce(0, +)
    return speed
  }

  /// Generated tokens a second, by round.
  private var decodeSamples: [Double] { tokenSeconds.map { Double($0.count) / $0.reduce(0, +) } }

  /// Tokens a second over the rounds.
  struct Speed {
    /// 0 when not measured.
    var median = 0.0
    /// Standard deviation of a round; 0 with fewer than two.
    var deviation = 0.0

    init(_ samples: [Double]) {
      median = Self.median(samples)
      let mean = samples.reduce(0, +) / Double(max(samples.count, 1))
      let squares = samples.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
      if samples.count > 1 { deviation = (squares / Double(samples.count - 1)).squareRoot() }
    }

    static func median(_ samples: [Double]) -> Double {
      let sorted = samples.sorted()
      return sorted.isEmpty ? 0 : (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
    }
  }

  func json(prompt: Int, generated: Int) -> JSONObject {
    [
      "variant": .string(variant.name), "nodes": JSONValue(variant.nodeCount),
      "arena_bytes_per_token": JSONValue(variant.arenaByteCount), "arena_bytes": JSONValue(arenaByteCount),
      "n_prompt": JSONValue(prompt), "prefill_ts": .number(prefill.median), "n_gen": JSONValue(generated),
      "decode_ts": .number(decode.median),
      "prefill_samples_ts": .array(prefillSeconds.map { .number(Double(prompt) / $0) }),
      "decode_samples_ts": .array(decodeSamples.map { .number($0) }),
    ]
  }
}
