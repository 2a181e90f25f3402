import SafeIO
import TensorCore

/// What can be wrong with a file of base log-probabilities.
public enum LogitBaseError: DiagnosableError, Equatable {
  /// Reading or writing failed below this format.
  case io(SafeIOError)
  /// The header cannot be.
  case header(file: String, field: String, expected: String, found: String)
  /// The file does not have the size that its header gives.
  case size(file: String, expected: Int, found: Int)
  /// A row is not finite or does not have a number for each token of the vocabulary.
  case row(index: Int, problem: String)
  /// More or fewer rows were written than announced.
  case rowCount(expected: Int, found: Int)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .header(let file, let field, let expected, let found):
      Diagnostic(
        code: "logit-base.header", message: "the header is not that of a base file", file: file,
        subject: field,
        expected: expected, found: found)
    case .size(let file, let expected, let found):
      Diagnostic(
        code: "logit-base.size", message: "the file does not have the size that its header gives", file: file,
        expected: "\(expected) bytes", found: "\(found)",
        hint: "the run that wrote it may have been cut short")
    case .row(let index, let problem):
      Diagnostic(code: "logit-base.row", message: "row \(index): \(problem)")
    case .rowCount(let expected, let found):
      Diagnostic(
        code: "logit-base.row-count", status: .bug, message: "rows are missing or too many",
        expected: "\(expected)",
        found: "\(found)")
    }
  }
}
