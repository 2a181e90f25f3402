import TensorCore

/// What can go wrong when a graph is differentiated.
public enum DifferentiationError: DiagnosableError {
  /// The operation has no derivative here.
  case unsupported(operation: String, scope: String, reason: String)
  /// An input or a weight does not fit the graph.
  case mismatch(String, expected: String, found: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .unsupported(let operation, let scope, let reason):
      Diagnostic(
        code: "differentiation.unsupported", status: .usage,
        message: "\(operation) cannot be differentiated: \(reason)", subject: scope)
    case .mismatch(let name, let expected, let found):
      Diagnostic(
        code: "differentiation.mismatch", status: .bug, message: "a value does not fit the graph",
        subject: name, expected: expected, found: found)
    }
  }
}
