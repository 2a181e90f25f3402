import SafeIO
import TensorCore

/// What can go wrong when a tokenizer is read, and the one thing that can go wrong when it encodes.
public enum TokenizerError: DiagnosableError, Equatable {
  /// The text is not JSON, or the bytes end too early.
  case unreadable(SafeIOError)
  /// A part is of a kind that Adze does not implement; refused, because ignoring it would give other ids.
  case unsupported(file: String?, path: String, found: String, hint: String)
  /// A part is missing, or not what its kind requires.
  case invalid(file: String?, path: String, expected: String, found: String)
  /// A count or size beyond what any tokenizer needs.
  case limit(file: String?, path: String, limit: Int, found: Int)
  /// A split pattern takes more steps than a linear-time one would: it is refused while it runs.
  case matchLimit(pattern: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .unreadable(let error): error.diagnostic
    case .unsupported(let file, let path, let found, let hint):
      Diagnostic(
        code: "tokenizer.unsupported", message: "this kind of tokenizer part is not read", file: file,
        subject: path, found: found, hint: hint)
    case .invalid(let file, let path, let expected, let found):
      Diagnostic(
        code: "tokenizer.invalid", message: "the tokenizer is damaged", file: file, subject: path,
        expected: expected, found: found)
    case .limit(let file, let path, let limit, let found):
      Diagnostic(
        code: "tokenizer.limit", message: "more than the limit allows", file: file, subject: path,
        expected: "at most \(limit)", found: "\(found)")
    case .matchLimit(let pattern):
      Diagnostic(
        code: "tokenizer.match_limit", message: "a split pattern takes too many steps on this text",
        subject: pattern,
        hint: "patterns such as (a+)+ take exponential time; the tokenizer file needs another one")
    }
  }
}
