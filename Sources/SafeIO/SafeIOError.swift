import Glibc
import TensorCore

/// What can go wrong when bytes are read from files or written to them.
public enum SafeIOError: DiagnosableError, Equatable {
  /// No such file or directory.
  case missing(file: String)
  /// The system refused to open or read; `code` is an errno value.
  case unreadable(file: String, operation: String, code: Int32)
  /// The path is a directory, a pipe, a device or a socket.
  case notRegular(file: String)
  /// The name would lead out of the directory that it must stay in.
  case outsideDirectory(file: String, name: String)
  /// The output cannot be created; `code` is an errno value.
  case cannotCreate(file: String, operation: String, code: Int32)
  /// The output exists and must not be replaced.
  case alreadyExists(file: String)
  /// Writing failed; `code` is an errno value.
  case writeFailed(file: String, operation: String, code: Int32)
  /// The file ends before what it announces.
  case truncated(file: String?, offset: Int, needed: Int, available: Int)
  /// Bytes that mean nothing here.
  case malformed(file: String?, offset: Int, problem: String)
  /// Text that is not JSON as RFC 8259 has it.
  case json(file: String?, offset: Int, problem: String)
  /// More than the limit allows.
  case limit(file: String?, what: String, limit: Int, found: Int)
  /// A Zstandard frame that is damaged or not as announced.
  case zstandard(problem: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .missing(let file):
      Diagnostic(code: "io.missing", status: .missingInput, message: "no such file or directory", file: file)
    case .unreadable(let file, let operation, let code):
      Diagnostic(
        code: "io.unreadable", status: code == EACCES || code == EPERM ? .missingInput : .inputOutput,
        message: "cannot \(operation): \(SafeIOError.text(of: code))", file: file)
    case .notRegular(let file):
      Diagnostic(code: "io.not-regular", message: "not a regular file", file: file)
    case .outsideDirectory(let file, let name):
      Diagnostic(
        code: "io.outside-directory", message: "a file name must stay inside the model's directory",
        file: file, subject: name, expected: "a plain file name")
    case .cannotCreate(let file, let operation, let code):
      Diagnostic(
        code: "io.cannot-create",
        status: code == ENOSPC || code == EDQUOT ? .inputOutput : .cannotCreateOutput,
        message: "cannot \(operation): \(SafeIOError.text(of: code))", file: file)
    case .alreadyExists(let file):
      Diagnostic(
        code: "io.exists", status: .cannotCreateOutput, message: "the output exists and is not empty",
        file: file,
        hint: "choose another output, or allow it to be replaced")
    case .writeFailed(let file, let operation, let code):
      Diagnostic(
        code: "io.write-failed", status: .inputOutput,
        message: "cannot \(operation): \(SafeIOError.text(of: code))", file: file,
        hint: code == ENOSPC ? "free some space; nothing was left behind" : nil)
    case .truncated(let file, let offset, let needed, let available):
      Diagnostic(
        code: "io.truncated", message: "the data end too early", file: file, offset: offset,
        expected: "\(needed) bytes", found: "\(available)")
    case .malformed(let file, let offset, let problem):
      Diagnostic(code: "io.malformed", message: problem, file: file, offset: offset)
    case .json(let file, let offset, let problem):
      Diagnostic(code: "json.malformed", message: problem, file: file, offset: offset)
    case .limit(let file, let what, let limit, let found):
      Diagnostic(
        code: "io.limit", message: "\(what) above the limit", file: file, expected: "at most \(limit)",
        found: "\(found)")
    case .zstandard(let problem):
      Diagnostic(code: "zstd.malformed", message: problem)
    }
  }

  /// The system's text for an errno value.
  static func text(of code: Int32) -> String {
    guard let text = unsafe strerror(code) else { return "error \(code)" }
    return unsafe String(cString: text)
  }
}
