/// Pieces of HTML and SVG that are always well-formed: every element is closed, all text is escaped.
struct Markup {
  /// The markup so far.
  private(set) var text = ""

  /// Nothing.
  init() {}

  /// Escaped text.
  init(_ content: String) { text = Markup.escaped(content) }

  /// An element with attributes and content.
  init(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], _ content: [Markup] = []) {
    text = "<" + name
    for (key, value) in attributes { text += " \(key)=\"\(Markup.escaped(value))\"" }
    let inside = content.map(\.text).joined()
    let isVoid = ["meta", "br", "line", "circle", "rect", "path"].contains(name) && inside.isEmpty
    text += isVoid ? "/>" : ">\(inside)</\(name)>"
  }

  /// An element that holds text.
  init(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], text content: String) {
    self.init(name, attributes, [Markup(content)])
  }

  /// A style sheet, which is not escaped; only for text of the program's own.
  static func style(_ sheet: StaticString) -> Markup {
    var result = Markup()
    result.text = "<style>\(sheet)</style>"
    return result
  }

  /// Text with the characters that mean something in markup, and control characters, made harmless.
  static func escaped(_ content: String) -> String {
    var result = ""
    for scalar in content.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "\n", "\t": result.unicodeScalars.append(scalar)
      case "\u{0}"..<"\u{20}", "\u{7F}"..<"\u{A0}", "\u{FFFE}"..."\u{FFFF}", "\u{202A}"..."\u{202E}",
        "\u{2066}"..."\u{2069}":
        result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
