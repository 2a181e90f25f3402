import SafeIO
import TensorCore

/// What can be wrong with a llama2.c file.
public enum Llama2CError: DiagnosableError, Equatable {
  /// Reading failed below this format.
  case io(SafeIOError)
  /// A number of the header cannot be.
  case header(file: String, field: String, expected: String, found: String)
  /// The file does not have the size that its header gives.
  case size(file: String, expected: Int, found: Int)
  /// A later version of the format.
  case version(file: String, version: Int)
  /// The vocabulary file is damaged.
  case vocabulary(file: String, offset: Int, problem: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .header(let file, let field, let expected, let found):
      Diagnostic(
        code: "llama2c.header", message: "the header is not that of a llama2.c model", file: file,
        subject: field,
        expected: expected, found: found)
    case .size(let file, let expected, let found):
      Diagnostic(
        code: "llama2c.size", message: "the file does not have the size that its header gives", file: file,
        expected: "\(expected) bytes", found: "\(found)")
    case .version(let file, let version):
      Diagnostic(
        code: "llama2c.version", message: "version \(version) of the llama2.c format is not read", file: file,
        hint: "export the model again as version 0")
    case .vocabulary(let file, let offset, let problem):
      Diagnostic(code: "llama2c.vocabulary", message: problem, file: file, offset: offset)
    }
  }
}
