import Evaluation
import GraphPasses
import Pipeline

/// What passes did, as a table, and for each of them where it fired and why not elsewhere.
struct OptimizationText {
  let text: String

  init(_ result: OptimizationStage.Result, explains: Bool) {
    var table = TextTable(
      [
        "pass", "fired", "not", "nodes", "constants", "arena/token", "moved/token", "token µs", "prompt µs",
        "ms",
      ]
        + (result.difference == nil ? [] : ["difference"]), alignments: [.leading])
    table.addRow(["(before)", "", ""] + Self.cells(result.before))
    for step in result.steps {
      let difference = step.difference.map { $0.isExact ? "same bits" : Self.exponent($0.deviations) }
      table.addRow(
        [step.report.pass, "\(step.report.firedCount)", "\(step.report.misses.count)"]
          + (step.report.changed ? Self.cells(step.after) : ["", "", "", "", "", ""])
          + [NumberFormat.fixed(step.seconds * 1000, 1), difference ?? ""])
    }
    var text =
      table.plain
      + "token and prompt: estimates for one token alone, and for each of a prompt of \(GraphCost.promptLength); bench --ablate measures\n"
    if explains {
      let befores = [result.before] + result.steps.map(\.after)
      for (step, before) in zip(result.steps, befores) { text += Self.explanation(step, before) }
    }
    let after = result.after
    text +=
      "\n\(result.before.nodeCount) nodes became \(after.nodeCount) in \(NumberFormat.fixed(result.seconds * 1000, 1)) ms"
    if let old = result.before.arenaByteCount, let new = after.arenaByteCount {
      text += "; arena \(NumberFormat.bytes(old)) to \(NumberFormat.bytes(new)) a token"
    }
    if let difference = result.difference {
      text +=
        difference.isExact
        ? "; results have the same bits"
        : "; results differ by at most \(Self.exponent(difference.deviations)) standard deviations"
    }
    self.text = text + "\n"
  }

  private static func cells(_ measure: GraphMeasure) -> [String] {
    [
      "\(measure.nodeCount)", measure.constantByteCount.map { NumberFormat.bytes($0) } ?? "?",
      measure.arenaByteCount.map { NumberFormat.bytes($0) } ?? "?",
      NumberFormat.bytes(measure.movedByteCount), microseconds(measure.cost.tokenSeconds),
      microseconds(measure.cost.promptSeconds),
    ]
  }

  private static func microseconds(_ seconds: Double) -> String { NumberFormat.fixed(seconds * 1e6, 1) }

  /// What a pass took away from the graph before it, and what it made more of.
  private static func balance(_ before: GraphMeasure, _ after: GraphMeasure) -> (
    saved: String, costs: String?
  ) {
    var (saved, costs): ([String], [String]) = ([], [])
    func note(_ less: Double, _ amount: String, _ what: String) {
      if less > 0 { saved.append("\(amount) \(what)") } else { costs.append("\(amount) more \(what)") }
    }
    func bytes(_ old: Int?, _ new: Int?, _ what: String) {
      guard let old, let new, old != new else { return }
      note(Double(old - new), NumberFormat.bytes(abs(old - new)), what)
    }
    func time(_ old: Double, _ new: Double, _ what: String) {
      if abs(old - new) >= 5e-8 { note(old - new, microseconds(abs(old - new)) + " µs", what) }
    }
    let nodes = before.nodeCount - after.nodeCount
    if nodes != 0 { note(Double(nodes), "\(abs(nodes))", abs(nodes) == 1 ? "node" : "nodes") }
    bytes(before.constantByteCount, after.constantByteCount, "of constants")
    bytes(before.arenaByteCount, after.arenaByteCount, "of arena a token")
    bytes(before.movedByteCount, after.movedByteCount, "moved a token")
    time(before.cost.tokenSeconds, after.cost.tokenSeconds, "of a token alone")
    time(before.cost.promptSeconds, after.cost.promptSeconds, "of each in a prompt")
    return (
      saved.isEmpty ? "nothing that is counted here" : saved.joined(separator: ", "),
      costs.isEmpty ? nil : costs.joined(separator: ", ")
    )
  }

  private static func exponent(_ value: Double) -> String { NumberFormat.significant(value, 2) }

  private static func explanation(_ step: OptimizationStage.Step, _ before: GraphMeasure) -> String {
    let report = step.report
    guard report.changed || !report.misses.isEmpty else { return "" }
    var text = "\n\(report.pass): \(report.firedCount)\n"
    if report.changed {
      text += "  at      \(SiteList.text(report.sites))\n"
      for law in report.laws { text += "  by      \(law.name): \(law.count)\n" }
      let (saved, costs) = balance(before, step.after)
      text += "  saved   \(saved)\n"
      if let costs { text += "  costs   \(costs)\n" }
    }
    var reasons: [String] = []
    for miss in report.misses where !reasons.contains(miss.reason) { reasons.append(miss.reason) }
    for reason in reasons {
      let sites = report.misses.filter { $0.reason == reason }.map(\.site)
      text += "  not at  \(SiteList.text(sites)): \(reason)\n"
    }
    return text
  }
}
