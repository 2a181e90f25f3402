import Architectures
import Evaluation
import Execution
import Kernels
import Pipeline
import SafeIO

extension BenchCommand {
  /// Every variant in turn in each round, so that a busy moment of the machine meets all of them; medians, and how far rounds lie apart.
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
      for index in runs.indices {
        try Interruption.check()
        // Each round begins with another variant.
        let number = (index + round) % runs.count
        try runs[number].measure(prompt: prompt, generated: count, counts: round > 0)
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
  private var decodeSeconds: [Double] = []
  private var counts = (prompt: 0, generated: 0)

  init(variant: Ablation.Variant, pool: ThreadPool, vocabulary: Int) {
    self.variant = variant
    self.vocabulary = max(vocabulary, 1)
    session = Session(program: variant.program, pool: pool)
  }

  mutating func measure(prompt: Int, generated: Int, counts isCounted: Bool) throws {
    counts = (prompt, generated)
    func token(_ index: Int) -> Int32 { Int32((index &* 7919 &+ 13) % vocabulary) }
    session.truncate(to: 0)
    let clock = ContinuousClock()
    if prompt > 0 {
      let time = try clock.measure { try unsafe session.forward((0..<prompt).map(token)) { _ in } }
      if isCounted { prefillSeconds.append(time / .seconds(1)) }
    }
    session.truncate(to: 0)
    guard generated > 0 else { return }
    let time = try clock.measure {
      for index in 0..<generated { try unsafe session.forward([token(index)]) { _ in } }
    }
    if isCounted { decodeSeconds.append(time / .seconds(1)) }
  }

  /// Bytes of the arena at its largest.
  var arenaByteCount: Int { session.arenaByteCount }
  /// Prompt tokens a second.
  var prefill: Speed { Speed(prefillSeconds.map { Double(counts.prompt) / $0 }) }
  /// Generated tokens a second.
  var decode: Speed { Speed(decodeSeconds.map { Double(counts.generated) / $0 }) }

  /// Tokens a second over the rounds.
  struct Speed {
    /// 0 when not measured.
    var median = 0.0
    /// Standard deviation of a round; 0 with fewer than two.
    var deviation = 0.0

    init(_ samples: [Double]) {
      let sorted = samples.sorted()
      guard !sorted.isEmpty else { return }
      median = (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
      let mean = sorted.reduce(0, +) / Double(sorted.count)
      let squares = sorted.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
      if sorted.count > 1 { deviation = (squares / Double(sorted.count - 1)).squareRoot() }
    }
  }

  func json(prompt: Int, generated: Int) -> JSONObject {
    [
      "variant": .string(variant.name), "nodes": JSONValue(variant.nodeCount),
      "arena_bytes_per_token": JSONValue(variant.arenaByteCount), "arena_bytes": JSONValue(arenaByteCount),
      "n_prompt": JSONValue(prompt), "prefill_ts": .number(prefill.median), "n_gen": JSONValue(generated),
      "decode_ts": .number(decode.median),
      "prefill_samples_ts": .array(prefillSeconds.map { .number(Double(prompt) / $0) }),
      "decode_samples_ts": .array(decodeSeconds.map { .number(Double(generated) / $0) }),
    ]
  }
}
