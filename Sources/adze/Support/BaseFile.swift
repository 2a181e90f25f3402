import Evaluation
import LogitBase

/// Writes a base file around a measurement, so that a failed measurement leaves none.
enum BaseFile {
  static func write(
    to path: String, windows: EvaluationWindows, vocabularyCount: Int,
    _ measure: @escaping (_ append: ([Float]) throws -> Void) throws -> EvaluationReport
  ) throws -> EvaluationReport {
    var report: EvaluationReport?
    try LogitBaseWriter.write(
      to: path, layout: LogitBaseLayout(windows, vocabularyCount: vocabularyCount), tokens: windows.tokens
    ) { append in report = try measure(append) }
    guard let report else { preconditionFailure("the writer calls its body") }
    return report
  }
}
