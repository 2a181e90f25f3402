import Evaluation
import GraphPasses
import Pipeline

/// What passes did, as a table, and for each of them where it fired and why not elsewhere.
struct OptimizationText {
  let text: String

  init(_ result: OptimizationStage.Result, explains: Bool) {
    var table = TextTable(
      ["pass", "fired", "not", "nodes", "constants", "arena/token", "moved/token", "ms"]
        + (result.difference == nil ? [] : ["difference"]), alignments: [.leading])
    table.addRow(["(before)", "", ""] + Self.cells(result.before))
    for step in result.steps {
      let difference = step.difference.map { $0.isExact ? "same bits" : Self.exponent($0.deviations) }
      table.addRow(
        [step.report.pass, "\(step.report.firedCount)", "\(step.report.misses.count)"]
          + (step.report.changed ? Self.cells(step.after) : ["", "", "", ""])
          + [NumberFormat.fixed(step.seconds * 1000, 1), difference ?? ""])
    }
    var text = table.plain
    if explains { text += result.steps.map(Self.explanation).joined() }
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
      NumberFormat.bytes(measure.movedByteCount),
    ]
  }

  private static func exponent(_ value: Double) -> String { NumberFormat.significant(value, 2) }

  private static func explanation(_ step: OptimizationStage.Step) -> String {
    let report = step.report
    guard report.changed || !report.misses.isEmpty else { return "" }
    var text = "\n\(report.pass): \(report.firedCount)\n"
    if report.changed { text += "  at      \(SiteList.text(report.sites))\n" }
    var reasons: [String] = []
    for miss in report.misses where !reasons.contains(miss.reason) { reasons.append(miss.reason) }
    for reason in reasons {
      let sites = report.misses.filter { $0.reason == reason }.map(\.site)
      text += "  not at  \(SiteList.text(sites)): \(reason)\n"
    }
    return text
  }
}
