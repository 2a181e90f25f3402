import SafeIO
import TensorCore

/// Something that is wrong, or likely to be, with a model.
public struct Finding: Sendable, Equatable {
  /// How bad it is.
  public enum Severity: String, Sendable, Comparable {
    /// Worth knowing; nothing need be done.
    case note
    /// Some engines or some uses will suffer.
    case warning
    /// The model is damaged or computes something else than was meant.
    case error

    /// By how bad it is.
    public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }

    private var rank: Int {
      switch self {
      case .note: 0
      case .warning: 1
      case .error: 2
      }
    }
  }

  /// How bad it is.
  public var severity: Severity
  /// Name of the check that found it, such as `zero-points`.
  public var check: String
  /// The tensor, key or file it is about; nil for the model as a whole.
  public var subject: String?
  /// What was found, in a sentence.
  public var message: String
  /// What it means for whoever runs the model.
  public var meaning: String
  /// How to mend it.
  public var remedy: String

  /// Creates a finding.
  public init(
    _ severity: Severity, check: String, subject: String? = nil, _ message: String, meaning: String,
    remedy: String
  ) {
    self.severity = severity
    self.check = check
    self.subject = subject
    self.message = message
    self.meaning = meaning
    self.remedy = remedy
  }

  /// One object with snake-case keys.
  public var json: JSONValue {
    [
      "severity": .string(severity.rawValue), "check": .string(check),
      "subject": subject.map { .string($0) } ?? .null, "message": .string(message),
      "meaning": .string(meaning), "remedy": .string(remedy),
    ]
  }
}
