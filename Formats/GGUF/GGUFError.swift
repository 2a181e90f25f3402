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
  /// What is to be written cannot be in a file.
  case source(file: String, name: String, expected: String, found: String)
  /// The parts of a split model do not belong together.
  case split(file: String, problem: String, expected: String?, found: String?)
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
    case .source(let file, let name, let expected, let found):
      Diagnostic(
        code: "gguf.source", message: "cannot be written as GGUF", file: file, subject: name,
        expected: expected, found: found)
    case .split(let file, let problem, let expected, let found):
      Diagnostic(
        code: "gguf.split", message: problem, file: file, expected: expected, found: found,
        hint: "all parts of the model must lie in one directory under their own names")
    case .noTensor(let file, let name):
      Diagnostic(code: "gguf.no-tensor", message: "there is no such tensor", file: file, subject: name)
    }
  }
}
