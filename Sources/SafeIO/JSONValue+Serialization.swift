extension JSONValue {
  /// The JSON text: members in their order, doubles in the fewest digits that read back the same; an infinity or a NaN,
  /// which JSON cannot say, becomes `null`.
  public func serialized(pretty: Bool = false) -> String {
    var text = ""
    write(to: &text, pretty: pretty, indentation: 0)
    return text
  }

  /// A string in quotation marks with all escapes that JSON asks for.
  public static func quoted(_ string: String) -> String {
    var text = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case "\u{0}"..<"\u{20}", "\u{7F}":
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }

  private func write(to text: inout String, pretty: Bool, indentation: Int) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .number(let value): text += value.isFinite ? "\(value)" : "null"
    case .string(let value): text += JSONValue.quoted(value)
    case .array(let elements):
      list(to: &text, "[", "]", count: elements.count, pretty: pretty, indentation: indentation) {
        text, index in
        elements[index].write(to: &text, pretty: pretty, indentation: indentation + 1)
      }
    case .object(let members):
      list(to: &text, "{", "}", count: members.count, pretty: pretty, indentation: indentation) {
        text, index in
        let member = members[index]
        text += JSONValue.quoted(member.key) + (pretty ? ": " : ":")
        member.value.write(to: &text, pretty: pretty, indentation: indentation + 1)
      }
    }
  }

  private func list(
    to text: inout String, _ opening: String, _ closing: String, count: Int, pretty: Bool, indentation: Int,
    item: (inout String, Int) -> Void
  ) {
    text += opening
    for index in 0..<count {
      if index > 0 { text += "," }
      if pretty { text += "\n" + String(repeating: "  ", count: indentation + 1) }
      item(&text, index)
    }
    if pretty && count > 0 { text += "\n" + String(repeating: "  ", count: indentation) }
    text += closing
  }
}
