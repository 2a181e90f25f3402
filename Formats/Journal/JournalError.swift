import SafeIO
import TensorCore

/// What can be wrong with a journal.
public enum JournalError: DiagnosableError, Equatable {
  /// Reading or writing failed below this format.
  case io(SafeIOError)
  /// The file is no journal, or one of another version.
  case notAJournal(file: String, found: String)
  /// A record that is whole is not what was written.
  case damaged(file: String, offset: Int, problem: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .notAJournal(let file, let found):
      Diagnostic(
        code: "journal.format", message: "the file is not a journal of this version", file: file,
        expected: String(decoding: JournalFile.magic, as: UTF8.self), found: found,
        hint: "remove it to start anew")
    case .damaged(let file, let offset, let problem):
      Diagnostic(
        code: "journal.damaged", message: problem, file: file, offset: offset, hint: "remove it to start anew"
      )
    }
  }
}
