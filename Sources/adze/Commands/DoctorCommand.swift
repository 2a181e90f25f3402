import ArgumentParser
import Kernels
import Pipeline
import SafeIO
import TensorCore

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Look a model over for what commonly goes wrong, and say how to mend it.",
    discussion: """
      Checks:
      \(ModelDoctor.catalog.map { "  \($0.name): \($0.summary)" }.joined(separator: "\n"))

      Exit status 65 when there is an error, 0 when there are only warnings and notes.
      """)

  @Argument(help: "The model.") var model: String
  @Flag(help: "Leave out checks that run the model, which take longest on large ones.") var noRun = false
  @Flag(help: "Print one JSON object.") var json = false
  @OptionGroup var execution: ExecutionArguments

  func run() throws {
    let bar = ProgressBar("doctor")
    let doctor = try ModelDoctor(path: model, runsModel: !noRun, pool: execution.pool())
    let findings = try doctor.run { try bar.update($1, $0) }
    bar.finish()
    let counts = [Finding.Severity.error, .warning, .note].map { severity in
      (severity, findings.count { $0.severity == severity })
    }
    if json {
      var object: JSONObject = ["model": .string(model)]
      for (severity, count) in counts { object["\(severity.rawValue)s"] = JSONValue(count) }
      object["findings"] = .array(findings.map(\.json))
      try Console.print(.object(object))
    } else {
      for finding in findings { try Console.print(Self.text(finding)) }
      let summary = counts.map { "\($0.1) \($0.0.rawValue)\($0.1 == 1 ? "" : "s")" }.joined(separator: ", ")
      try Console.print(findings.isEmpty ? "\(model): nothing found" : "\(model): \(summary)")
    }
    if let first = findings.first, first.severity == .error {
      throw UnhealthyModel(model: model, count: counts[0].1, first: first)
    }
  }

  private static func text(_ finding: Finding) -> String {
    let subject = finding.subject.map { " '\(Diagnostic.escaped($0))'" } ?? ""
    return """
      \(finding.severity.rawValue)[\(finding.check)]\(subject): \(Diagnostic.escaped(finding.message, limit: 2000))
        means: \(finding.meaning)
        mend:  \(finding.remedy)
      """
  }
}

/// Ends the process with the status of bad input after all findings were listed.
struct UnhealthyModel: DiagnosableError {
  let model: String
  let count: Int
  let first: Finding

  var diagnostic: Diagnostic {
    Diagnostic(
      code: "doctor.errors", message: count == 1 ? "there is an error" : "there are \(count) errors",
      file: model, subject: first.check)
  }
}
