import Architectures
import Codecs
import Evaluation
import Execution
import Kernels
import Pipeline
import SafeIO

extension BenchCommand {
  /// The cache that was asked for and those of `--against-cache`, over the same weights.
  func compareCaches(_ path: String) throws {
    let model = try inference.load(path)
    let pool = inference.execution.pool()
    var programs = [model.program]
    for other in others {
      var options = model.program.options
      options.cache = other.format
      programs.append(
        try Program(graph: model.program.graph, weights: model.program.weights, options: options))
    }
    var tests: [CacheTest] = []
    for depth in depths.values {
      for (prompt, count) in prompts.values.map({ ($0, 0) }) + generated.values.map({ (0, $0) })
      where prompt + count > 0 {
        var runs = try programs.map {
          try TurnRun(
            $0, pool: pool, vocabulary: model.source.summary.sizes.vocabularySize, depth: depth)
        }
        let bar = ProgressBar("bench")
        try runs.measure(
          prompt: prompt, generated: count, repetitions: repetitions, progress: { try bar.update($0) })
        Console.finishProgress()
        tests.append(
          CacheTest(
            caches: programs.map { "\($0.cache.format)" }, runs: runs, prompt: prompt, generated: count,
            depth: depth))
      }
    }
    if format == .json { return try Console.print(.array(tests.flatMap(\.json))) }
    var table = TextTable(
      ["cache", "bytes", "test", "t/s", "of the first", "rounds"], alignments: [.leading])
    for row in tests.flatMap(\.rows) { table.addRow(row) }
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
  }

  /// A speed, its ratio to another one, and the ratios of rounds; empty when not measured.
  static func cells(_ speed: Double, _ ratio: PairedRatio) -> [String] {
    guard speed > 0 else { return ["", "", ""] }
    return [
      NumberFormat.fixed(speed, 1), NumberFormat.fixed(ratio.median, 3),
      "\(NumberFormat.fixed(ratio.range.lowerBound, 2))-\(NumberFormat.fixed(ratio.range.upperBound, 2))",
    ]
  }
}

/// One prompt or generation with each cache.
private struct CacheTest {
  let caches: [String]
  let runs: [TurnRun]
  let prompt: Int
  let generated: Int
  let depth: Int

  private var name: String {
    (prompt > 0 ? "pp\(prompt)" : "tg\(generated)") + (depth > 0 ? " @ d\(depth)" : "")
  }

  private func speed(_ run: TurnRun) -> Double { prompt > 0 ? run.prefillSpeed(prompt) : run.decodeSpeed }

  private func ratio(_ run: TurnRun) -> PairedRatio {
    prompt > 0
      ? PairedRatio(run.prefill, to: runs[0].prefill) : PairedRatio(run.decode, to: runs[0].decode)
  }

  var rows: [[String]] {
    zip(caches, runs).map { cache, run in
      [cache, NumberFormat.bytes(run.cacheByteCount), name] + BenchCommand.cells(speed(run), ratio(run))
    }
  }

  var json: [JSONValue] {
    zip(caches, runs).map { cache, run in
      let ratio = ratio(run)
      let samples = run.samples(prompt: prompt)
      return .object([
        "cache": .string(cache), "cache_bytes": JSONValue(run.cacheByteCount),
        "n_prompt": JSONValue(prompt), "n_gen": JSONValue(generated), "n_depth": JSONValue(depth),
        "median_ts": .number(speed(run)), "of_first": .number(ratio.median),
        "of_first_rounds": .array(
          [ratio.range.lowerBound, ratio.range.upperBound].map(JSONValue.number)),
        "samples_ts": .array((prompt > 0 ? samples.prefill : samples.decode).map(JSONValue.number)),
      ])
    }
  }
}
