import Architectures
import Evaluation
import Execution
import Kernels
import Pipeline
import SafeIO
import TensorCore

extension BenchCommand {
  /// All variants in turn.
  func measureAblation(_ path: String) throws {
    let model = try ModelFormats.load(path)
    for warning in model.warnings { Console.warn(warning) }
    let ablation = try Ablation(model, options: inference.options(for: model))
    let (prompt, count) = (prompts.values.first ?? 0, generated.values.first ?? 0)
    // One crew for all: threads of others would have to wake up in each turn.
    let pool = inference.execution.pool()
    var runs = try ablation.variants.map {
      try TurnRun(
        $0.program, pool: pool, vocabulary: model.summary.sizes.vocabularySize,
        depth: depths.values.first ?? 0)
    }
    let bar = ProgressBar("ablate")
    try runs.measure(
      prompt: prompt, generated: count, repetitions: repetitions, progress: { try bar.update($0) })
    Console.finishProgress()
    let rows = zip(ablation.variants, runs).map { AblationRow(variant: $0, run: $1) }
    if format == .json {
      return try Console.print(
        .array(rows.map { .object($0.json(prompt: prompt, generated: count, best: rows[0].run)) }))
    }
    try printAblation(rows, prompt, count)
    if !ablation.idlePasses.isEmpty {
      Console.note("passes that did not fire: " + ablation.idlePasses.joined(separator: ", "))
    }
  }

  private func printAblation(_ rows: [AblationRow], _ prompt: Int, _ count: Int) throws {
    let depth = depths.values.first.map { $0 > 0 ? " @ d\($0)" : "" } ?? ""
    var table = TextTable(
      [
        "variant", "nodes", "arena/token", "arena", "pp\(prompt)\(depth) t/s", "of all", "rounds",
        "tg\(count)\(depth) t/s",
        "of all",
        "rounds",
      ], alignments: [.leading])
    for row in rows {
      table.addRow(
        [
          row.variant.name, "\(row.variant.nodeCount)", NumberFormat.bytes(row.variant.arenaByteCount),
          NumberFormat.bytes(row.run.arenaByteCount),
        ]
          + Self.cells(
            row.run.prefillSpeed(prompt), PairedRatio(row.run.prefill, to: rows[0].run.prefill))
          + Self.cells(row.run.decodeSpeed, PairedRatio(row.run.decode, to: rows[0].run.decode)))
    }
    try Console.write(format == .csv ? table.commaSeparated : table.markdown)
    noteWhole(rows.map(\.run))
  }

  /// What everything together is worth.
  private func noteWhole(_ runs: [TurnRun]) {
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

/// A variant and what was measured of it.
private struct AblationRow {
  let variant: Ablation.Variant
  let run: TurnRun

  func json(prompt: Int, generated: Int, best: TurnRun) -> JSONObject {
    let samples = run.samples(prompt: prompt)
    return [
      "variant": .string(variant.name), "nodes": JSONValue(variant.nodeCount),
      "arena_bytes_per_token": JSONValue(variant.arenaByteCount),
      "arena_bytes": JSONValue(run.arenaByteCount),
      "n_prompt": JSONValue(prompt), "prefill_ts": .number(run.prefillSpeed(prompt)),
      "n_gen": JSONValue(generated), "decode_ts": .number(run.decodeSpeed),
      "prefill_of_all": .number(PairedRatio(run.prefill, to: best.prefill).median),
      "decode_of_all": .number(PairedRatio(run.decode, to: best.decode).median),
      "prefill_samples_ts": .array(samples.prefill.map(JSONValue.number)),
      "decode_samples_ts": .array(samples.decode.map(JSONValue.number)),
    ]
  }
}
