/// Spelling rules that the printer, the parser and the verifier share; see TextForm.md.
enum TextForm {
  /// Scopes deeper than this are refused.
  static let maximumScopeDepth = 16
  /// Texts longer than this are refused; ten thousand decoder blocks take a third of it.
  static let maximumTextBytes = 1 << 26
  /// Names longer than this are refused.
  static let maximumNameBytes = 4096
  /// Extents above this are refused: sums and products of two of them stay inside `Int`.
  static let maximumExtent = 1 << 31
  /// Values and constants of higher rank are refused.
  static let maximumRank = 8
  /// Where the printer puts the type, when the line is not longer.
  static let typeColumn = 72
  /// Words that cannot start a scope.
  static let reserved: Set<String> = ["return", "constants"]

  static func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  /// A letter or underscore, then letters, digits and underscores.
  static func isIdentifier(_ text: String) -> Bool {
    guard let first = text.utf8.first, !isDigit(first) else { return false }
    return text.utf8.allSatisfy { isWordByte($0) && $0 != UInt8(ascii: ".") && $0 != UInt8(ascii: "-") }
  }

  /// The text itself when it is a plain word, else quoted.
  static func word(_ text: String) -> String {
    !text.isEmpty && text.utf8.allSatisfy(isWordByte) ? text : quoted(text)
  }

  /// The text in quotation marks; everything but printable ASCII is escaped.
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default:
        if (0x20..<0x7F).contains(scalar.value) {
          result.unicodeScalars.append(scalar)
        } else {
          result += "\\u{" + String(scalar.value, radix: 16) + "}"
        }
      }
    }
    return result + "\""
  }

  /// Whether the text can be a scope: empty, or dotted words of letters, digits, `_` and `-`.
  static func isScope(_ scope: String) -> Bool {
    if scope.isEmpty { return true }
    let segments = scope.split(separator: ".", omittingEmptySubsequences: false)
    guard segments.count <= 2 * maximumScopeDepth, scope.utf8.count <= maximumNameBytes,
      scope.utf8.allSatisfy(isWordByte), segments.allSatisfy({ !$0.isEmpty })
    else { return false }
    let labels = labels(of: scope)
    return labels.count <= maximumScopeDepth
      && labels.allSatisfy { label in
        guard let first = label.utf8.first else { return false }
        return !isDigit(first) && first != UInt8(ascii: "-") && !reserved.contains(label)
      }
  }

  /// The nested blocks of a scope: each a name with the numbers that follow it, as in `layers.0`, `attention`.
  static func labels(of scope: String) -> [String] {
    var labels: [String] = []
    for segment in scope.split(separator: ".") {
      if !labels.isEmpty, segment.utf8.allSatisfy(isDigit) {
        labels[labels.count - 1] += "." + segment
      } else {
        labels.append(String(segment))
      }
    }
    return labels
  }

  /// The scope up to its first number, such as `layers.3` of `layers.3.attention`; nil when it has none.
  static func numberedPrefix(of scope: String) -> String? {
    var prefix: [Substring] = []
    for segment in scope.split(separator: ".") {
      prefix.append(segment)
      if segment.utf8.allSatisfy(isDigit) { return prefix.joined(separator: ".") }
    }
    return nil
  }

  /// Whether the word is a decimal number: sign, digits, then perhaps a fraction and an exponent with `e`.
  static func isNumber(_ word: String) -> Bool {
    var rest = Substring(word).utf8
    func digits(_ rest: inout Substring.UTF8View) -> Bool {
      let end = rest.firstIndex { !isDigit($0) } ?? rest.endIndex
      let found = end != rest.startIndex
      rest = rest[end...]
      return found
    }
    if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
    guard digits(&rest) else { return false }
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      guard digits(&rest) else { return false }
    }
    if rest.first == UInt8(ascii: "e") {
      rest = rest.dropFirst()
      if rest.first == UInt8(ascii: "-") || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
      guard digits(&rest) else { return false }
    }
    return rest.isEmpty
  }
}
