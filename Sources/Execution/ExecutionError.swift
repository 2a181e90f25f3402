import TensorCore

/// What can go wrong between a graph and its results.
public enum ExecutionError: DiagnosableError {
  /// A constant of the graph is not among the weights, or has another shape.
  case constant(String, expected: String, found: String)
  /// An operation, or a use of it, that the executor does not have.
  case unsupported(operation: String, scope: String, reason: String)
  /// An input of the graph was not given, or does not fit.
  case input(String, expected: String, found: String)
  /// A token that is not in the vocabulary.
  case tokenOutOfRange(token: Int, position: Int, vocabulary: Int)
  /// Rows were asked for that the run does not make.
  case rows(expected: String, found: String)
  /// Entries of full caches cannot be chosen so.
  case policy(String, reason: String)
  /// Something below said no.
  case failed(Diagnostic)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .constant(let name, let expected, let found):
      Diagnostic(
        code: "execution.constant", message: "weight does not fit the graph", subject: name,
        expected: expected,
        found: found)
    case .unsupported(let operation, let scope, let reason):
      Diagnostic(
        code: "execution.unsupported", message: "cannot run \(operation): \(reason)",
        subject: scope.isEmpty ? nil : scope)
    case .input(let name, let expected, let found):
      Diagnostic(
        code: "execution.input", message: "graph input does not fit", subject: name, expected: expected,
        found: found)
    case .tokenOutOfRange(let token, let position, let vocabulary):
      Diagnostic(
        code: "execution.token", message: "token \(token) at position \(position) is not in the vocabulary",
        expected: "0..<\(vocabulary)", hint: "does the tokenizer belong to this model?")
    case .rows(let expected, let found):
      Diagnostic(code: "execution.rows", message: "these rows are not made", expected: expected, found: found)
    case .policy(let name, let reason):
      Diagnostic(
        code: "execution.policy", status: .usage, message: "caches cannot be kept small by \(name): \(reason)"
      )
    case .failed(let diagnostic): diagnostic
    }
  }
}
