import SafeIO
import TensorCore

/// What can be wrong with a packed file.
public enum PackedModelError: DiagnosableError, Equatable {
  /// Reading, writing or parsing failed below this format.
  case io(SafeIOError)
  /// The file does not begin as a packed file does.
  case notPacked(file: String)
  /// The file was written by a later version.
  case version(file: String, version: UInt32)
  /// The file needs a feature that this reader does not have.
  case feature(file: String, name: String)
  /// The preamble or the header is damaged.
  case header(file: String, offset: Int, problem: String)
  /// The entry of a section breaks a rule.
  case section(file: String, name: String, problem: String, expected: String?, found: String?)
  /// There is no section of this name.
  case noSection(file: String, name: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .notPacked(let file):
      Diagnostic(
        code: "packed.magic", message: "not a packed model", file: file, offset: 0, expected: "ADZEPACK")
    case .version(let file, let version):
      Diagnostic(
        code: "packed.version", message: "the packed file has a later version", file: file, offset: 8,
        expected: "\(PackedFile.version)", found: "\(version)",
        hint: "use a newer Adze, or pack the model again")
    case .feature(let file, let name):
      Diagnostic(
        code: "packed.feature", message: "the packed file needs a feature that this version does not have",
        file: file, subject: name, hint: "use a newer Adze, or pack the model again")
    case .header(let file, let offset, let problem):
      Diagnostic(code: "packed.header", message: problem, file: file, subject: "header", offset: offset)
    case .section(let file, let name, let problem, let expected, let found):
      Diagnostic(
        code: "packed.section", message: problem, file: file, subject: name, expected: expected, found: found)
    case .noSection(let file, let name):
      Diagnostic(code: "packed.no-section", message: "there is no such section", file: file, subject: name)
    }
  }
}
