import GraphPasses
import SafeIO

extension OptimizationStage.Result {
  /// `before`, `after`, `passes`, `seconds` and, with a proof, `difference`.
  public var json: JSONObject {
    var object: JSONObject = [
      "before": .object(before.json), "after": .object(after.json), "seconds": .number(seconds),
      "passes": .array(steps.map { .object($0.json) }),
    ]
    if let difference { object["difference"] = .object(difference.json) }
    return object
  }
}

extension OptimizationStage.Step {
  var json: JSONObject {
    var object: JSONObject = [
      "pass": .string(report.pass), "fired": JSONValue(report.firedCount),
      "promise": .string(promise == .exact ? "exact" : "close"),
      "sites": .array(report.sites.map { .string($0) }),
      "misses": .array(
        report.misses.map { ["site": .string($0.site), "reason": .string($0.reason)] }),
      "seconds": .number(seconds), "after": .object(after.json),
    ]
    if !report.laws.isEmpty {
      var laws: JSONObject = [:]
      for law in report.laws { laws[law.name] = JSONValue(law.count) }
      object["laws"] = .object(laws)
    }
    if let difference { object["difference"] = .object(difference.json) }
    return object
  }
}

extension GraphProof.Difference {
  var json: JSONObject {
    [
      "exact": .bool(isExact), "deviations": deviations.isFinite ? .number(deviations) : .null,
    ]
  }
}
