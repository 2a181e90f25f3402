/// What a person is told when something is wrong: a stable code, where, what was expected and found, and a way out.
///
/// Every module's error enum turns into one of these at the edge; nothing else is printed as an error.
public struct Diagnostic: Sendable, Equatable {
  /// Exit status of the process, after sysexits.
  public enum ExitStatus: Int32, Sendable {
    /// The command line was wrong.
    case usage = 64
    /// An input file is damaged, hostile or of an unsupported kind.
    case badInput = 65
    /// An input does not exist.
    case missingInput = 66
    /// A bug of Adze.
    case bug = 70
    /// The output cannot be created.
    case cannotCreateOutput = 73
    /// Reading or writing failed.
    case inputOutput = 74
    /// A limit (memory, size, count) was exceeded.
    case limit = 75
  }

  /// Stable identifier such as `safetensors.overlap`.
  public var code: String
  /// The exit status that this error ends the process with.
  public var status: ExitStatus
  /// One sentence, lower case, without a full stop.
  public var message: String
  /// The file it is about.
  public var file: String?
  /// The tensor, key or node it is about.
  public var subject: String?
  /// Byte offset in the file.
  public var offset: Int?
  /// What would have been right.
  public var expected: String?
  /// What was there.
  public var found: String?
  /// How to mend it.
  public var hint: String?

  /// Creates a diagnostic; everything but code and message may be left out.
  public init(
    code: String, status: ExitStatus = .badInput, message: String, file: String? = nil,
    subject: String? = nil, offset: Int? = nil, expected: String? = nil, found: String? = nil,
    hint: String? = nil
  ) {
    self.code = code
    self.status = status
    self.message = message
    self.file = file
    self.subject = subject
    self.offset = offset
    self.expected = expected
    self.found = found
    self.hint = hint
  }

  /// The one-line form: `error[code]: file: 'subject' at byte 12: message (expected x, found y)`, then a hint line.
  public var rendered: String {
    var line = "error[\(code)]: "
    if let file { line += "\(Diagnostic.escaped(file)): " }
    if let subject { line += "'\(Diagnostic.escaped(subject))'" }
    if let offset { line += subject == nil ? "at byte \(offset)" : " at byte \(offset)" }
    if subject != nil || offset != nil { line += ": " }
    line += Diagnostic.escaped(message, limit: 2000)
    switch (expected, found) {
    case (let expected?, let found?):
      line += " (expected \(Diagnostic.escaped(expected)), found \(Diagnostic.escaped(found)))"
    case (let expected?, nil): line += " (expected \(Diagnostic.escaped(expected)))"
    case (nil, let found?): line += " (found \(Diagnostic.escaped(found)))"
    case (nil, nil): break
    }
    if let hint { line += "\nhint: \(Diagnostic.escaped(hint, limit: 2000))" }
    return line
  }

  /// Makes text from a file safe to print: control characters escaped, length capped.
  public static func escaped(_ text: String, limit: Int = 300) -> String {
    var result = ""
    for (index, scalar) in text.unicodeScalars.enumerated() {
      if index == limit { return result + "…" }
      let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
      let isBidirectional =
        (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
      if isControl || isBidirectional {
        result += "\\u{" + String(scalar.value, radix: 16) + "}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// An error that knows how to present itself to a person.
public protocol DiagnosableError: Error, Sendable, CustomStringConvertible {
  /// The presentation.
  var diagnostic: Diagnostic { get }
}

extension DiagnosableError {
  /// The rendered diagnostic.
  public var description: String { diagnostic.rendered }
}
