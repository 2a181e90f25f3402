/// Cuts the textual form into tokens; every error knows its line and column.
struct GraphLexer {
  /// One piece of the text.
  enum Token: Equatable {
    /// A plain word: letters, digits, `_`, `.`, `-`.
    case word(String)
    /// Text in quotation marks, unescaped.
    case quoted(String)
    /// One of `@ % ( ) { } [ ] , : =`.
    case punctuation(UInt8)
    case end
  }

  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  private var lineStart = 0
  /// Where the current token starts.
  private(set) var tokenLine = 1
  private(set) var tokenColumn = 1
  /// The token at hand.
  private(set) var token = Token.end

  init(_ bytes: [UInt8]) throws(GraphError) {
    guard bytes.count <= TextForm.maximumTextBytes else {
      throw .syntax(line: 1, column: 1, reason: "the text is longer than \(TextForm.maximumTextBytes) bytes")
    }
    self.bytes = bytes
    try advance()
  }

  /// An error at the current token.
  func error(_ reason: String) -> GraphError {
    .syntax(line: tokenLine, column: tokenColumn, reason: reason)
  }

  /// What a message calls the current token.
  var found: String {
    switch token {
    case .word(let text): "'\(String(text.prefix(60)))'"
    case .quoted: "quoted text"
    case .punctuation(let byte): "'\(Character(UnicodeScalar(byte)))'"
    case .end: "the end of the text"
    }
  }

  /// Reads the next token.
  mutating func advance() throws(GraphError) {
    skipSpace()
    tokenLine = line
    tokenColumn = position - lineStart + 1
    guard position < bytes.count else {
      token = .end
      return
    }
    let byte = bytes[position]
    switch byte {
    case UInt8(ascii: "@"), UInt8(ascii: "%"), UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "{"),
      UInt8(ascii: "}"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ","), UInt8(ascii: ":"),
      UInt8(ascii: "="):
      position += 1
      token = .punctuation(byte)
    case UInt8(ascii: "\""):
      position += 1
      token = .quoted(try quotedText())
    case _ where TextForm.isWordByte(byte) || byte == UInt8(ascii: "+"):
      token = .word(try word())
    default:
      throw error("a character that does not belong here")
    }
  }

  private mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): position += 1
      case UInt8(ascii: "\n"):
        position += 1
        line += 1
        lineStart = position
      case UInt8(ascii: "/") where position + 1 < bytes.count && bytes[position + 1] == UInt8(ascii: "/"):
        while position < bytes.count, bytes[position] != UInt8(ascii: "\n") { position += 1 }
      default: return
      }
    }
  }

  /// A word; `+` belongs to it after an exponent's `e`.
  private mutating func word() throws(GraphError) -> String {
    let start = position
    while position < bytes.count,
      TextForm.isWordByte(bytes[position]) || bytes[position] == UInt8(ascii: "+")
    {
      position += 1
    }
    guard position - start <= TextForm.maximumNameBytes else { throw error("the word is too long") }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private mutating func quotedText() throws(GraphError) -> String {
    var text = String.UnicodeScalarView()
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        let result = String(text)
        guard result.utf8.count <= TextForm.maximumNameBytes else { throw error("the text is too long") }
        return result
      case UInt8(ascii: "\\"): text.append(try escape())
      case 0x20..<0x7F: text.append(UnicodeScalar(byte))
      default: throw error("quoted text may hold printable ASCII only; write \\u{...}")
      }
    }
    throw error("the quoted text does not end")
  }

  private mutating func escape() throws(GraphError) -> UnicodeScalar {
    guard position < bytes.count else { throw error("the quoted text does not end") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "u"): return try scalarEscape()
    default: throw error("there is no such escape")
    }
  }

  /// The rest of `\u{...}`: one to six hexadecimal digits.
  private mutating func scalarEscape() throws(GraphError) -> UnicodeScalar {
    let digits = bytes[position...].prefix(8)
    guard digits.first == UInt8(ascii: "{"), let close = digits.firstIndex(of: UInt8(ascii: "}")) else {
      throw error("expected \\u{hexadecimal digits}")
    }
    let text = String(decoding: digits[(position + 1)..<close], as: UTF8.self)
    guard text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
      let value = UInt32(text, radix: 16), let scalar = UnicodeScalar(value)
    else { throw error("\\u{...} is no Unicode scalar") }
    position = close + 1
    return scalar
  }
}
