import Glibc
import SafeIO

/// Standard output for results, standard error for everything else; both unbuffered here.
enum Console {
  /// Whether standard error is a terminal.
  static let errorIsTerminal = isatty(STDERR_FILENO) == 1
  /// Whether standard output is a terminal.
  static let outputIsTerminal = isatty(STDOUT_FILENO) == 1

  /// Writes a result line.
  static func print(_ text: String) throws { try write(text + "\n") }

  /// Writes text to standard output as it is.
  static func write(_ text: String) throws { try write(Array(text.utf8), to: STDOUT_FILENO) }

  /// Prints JSON on lines of its own.
  static func print(_ json: JSONValue) throws { try print(json.serialized(pretty: true)) }

  /// Writes a line to standard error; failure to do so is nobody's error.
  static func note(_ text: String) { try? write(Array((text + "\n").utf8), to: STDERR_FILENO) }

  /// Writes a warning.
  static func warn(_ text: String) {
    finishProgress()
    note("warning: " + text)
  }

  /// Writes to standard error without a line end.
  static func noteInline(_ text: String) { try? write(Array(text.utf8), to: STDERR_FILENO) }

  /// Ends a progress bar's line, if one is open.
  static func finishProgress() {
    if errorIsTerminal { noteInline("\r\u{1B}[K") }
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) throws {
    var offset = 0
    while offset < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        return unsafe Glibc.write(descriptor, start + offset, bytes.count - offset)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw SafeIOError.writeFailed(file: "standard output", operation: "write", code: errno)
      }
      offset += count
    }
  }
}
