import GGUF
import SafeIO
import TensorCore

/// What can be wrong with an importance matrix.
public enum ImatrixError: DiagnosableError, Equatable {
  /// Reading failed below this format.
  case io(SafeIOError)
  /// The GGUF file around it is damaged.
  case gguf(GGUFError)
  /// The file is no importance matrix.
  case notImatrix(file: String, found: String)
  /// An entry breaks a rule of the format.
  case entry(file: String, name: String, problem: String, found: String?)
  /// Two importance matrices that cannot be added.
  case mismatch(name: String, problem: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .gguf(let error): error.diagnostic
    case .notImatrix(let file, let found):
      Diagnostic(code: "imatrix.kind", message: "not an importance matrix", file: file, found: found)
    case .entry(let file, let name, let problem, let found):
      Diagnostic(code: "imatrix.entry", message: problem, file: file, subject: name, found: found)
    case .mismatch(let name, let problem):
      Diagnostic(
        code: "imatrix.mismatch", message: problem, subject: name,
        hint: "only importance matrices of the same model can be added")
    }
  }
}
