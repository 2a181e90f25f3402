import SafeIO
import TensorCore

/// What can be wrong with a GGUF file.
public enum GGUFError: DiagnosableError, Equatable {
  /// Reading failed below this format.
  case io(SafeIOError)
  /// The file does not begin with `GGUF`.
  case notGGUF(file: String)
  /// A version or byte order that is not read.
  case version(file: String, found: String, hint: String)
  /// A metadata entry breaks a rule of the format.
  case metadata(file: String, key: String, offset: Int, problem: String, found: String?)
  /// A tensor entry breaks a rule of the format.
  case tensor(file: String, name: String, problem: String, expected: String?, found: String?)
  /// There is no tensor of this name.
  case noTensor(file: String, name: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .notGGUF(let file):
      Diagnostic(code: "gguf.magic", message: "not a GGUF file", file: file, offset: 0, expected: "GGUF")
    case .version(let file, let found, let hint):
      Diagnostic(
        code: "gguf.version", message: "this version of GGUF is not read", file: file, offset: 4,
        expected: "2 or 3",
        found: found, hint: hint)
    case .metadata(let file, let key, let offset, let problem, let found):
      Diagnostic(
        code: "gguf.metadata", message: problem, file: file, subject: key, offset: offset, found: found)
    case .tensor(let file, let name, let problem, let expected, let found):
      Diagnostic(
        code: "gguf.tensor", message: problem, file: file, subject: name, expected: expected, found: found)
    case .noTensor(let file, let name):
      Diagnostic(code: "gguf.no-tensor", message: "there is no such tensor", file: file, subject: name)
    }
  }
}
