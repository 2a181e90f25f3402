import TensorCore

/// What can be wrong with a graph, its text, or a run of it.
public enum GraphError: DiagnosableError, Equatable {
  /// The text is not a graph; lines and columns (bytes) count from 1.
  case syntax(line: Int, column: Int, reason: String)
  /// A node breaks the rules of its operation; `node` is its first result's name, or its operation.
  case node(String, scope: String, reason: String)
  /// The graph as a whole breaks a rule.
  case graph(String)
  /// A run was given tensors that do not fit the graph.
  case execution(String, reason: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .syntax(let line, let column, let reason):
      Diagnostic(code: "graph.syntax", message: "line \(line), column \(column): \(reason)")
    case .node(let node, let scope, let reason):
      Diagnostic(
        code: "graph.node", message: scope.isEmpty ? reason : "in \(scope): \(reason)", subject: node)
    case .graph(let reason):
      Diagnostic(code: "graph.invalid", message: reason)
    case .execution(let subject, let reason):
      Diagnostic(code: "graph.execution", message: reason, subject: subject)
    }
  }
}
