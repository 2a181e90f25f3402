/// Turns an expression as Oniguruma understands it into one that means the same to PCRE2.
struct RegularExpressionTranslation {
  private let scalars: [Unicode.Scalar]
  private var index = 0
  private var result: [Unicode.Scalar] = []
  /// Where what a quantifier is about begins in the result.
  private var lastAtom = 0
  /// Where the open groups begin.
  private var groups: [Int] = []
  /// How many brackets are open: sets may hold sets.
  private var depth = 0

  /// The members of a set of word characters, as Oniguruma has it.
  private static let word = #"\p{Alphabetic}\p{M}\p{N}\p{Pc}"#
  /// Properties of more than two letters that are no scripts.
  private static let properties: Set<String> = [
    "Any", "Alphabetic", "White_Space", "Uppercase", "Lowercase", "Emoji", "Emoji_Presentation",
    "Extended_Pictographic", "Ideographic", "Join_Control",
  ]

  private init(_ text: String) { scalars = Array(text.unicodeScalars) }

  /// The translation of `text`.
  static func translated(_ text: String) throws(RegularExpression.Failure) -> String {
    var translation = RegularExpressionTranslation(text)
    try translation.translate()
    var view = String.UnicodeScalarView()
    view.append(contentsOf: translation.result)
    return String(view)
  }

  private mutating func append(_ text: String) { result.append(contentsOf: text.unicodeScalars) }

  private func peek(_ offset: Int = 0) -> Unicode.Scalar? {
    index + offset < scalars.count ? scalars[index + offset] : nil
  }

  private mutating func translate() throws(RegularExpression.Failure) {
    while let scalar = peek() {
      index += 1
      if depth == 0, translateInterval(scalar) { continue }
      if depth == 0, !["?", "*", "+", "(", ")"].contains(scalar) { lastAtom = result.count }
      switch scalar {
      case "(" where depth == 0 && !(peek() == "?" && peek(1) == "m"):
        groups.append(result.count)
        result.append(scalar)
      case ")" where depth == 0:
        lastAtom = groups.popLast() ?? result.count
        result.append(scalar)
      case "\\": try translateEscape()
      case "[" where depth == 0: openSet()
      case "[": try openInnerSet()
      case "]" where depth > 0:
        depth -= 1
        if depth == 0 { result.append("]") }
      case "&" where depth > 0 && peek() == "&":
        throw RegularExpression.Failure(problem: "intersections of sets (&&) are not supported")
      case "(" where depth == 0 && peek() == "?" && peek(1) == "m":
        throw RegularExpression.Failure(problem: "the option (?m) is not supported")
      default: result.append(scalar)
      }
    }
  }

  /// Takes a quantifier in braces. With a plus after it all of it may be repeated: that is no possessive one as it
  /// is in PCRE2.
  private mutating func translateInterval(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar == "{" else { return false }
    var end = index
    while end < scalars.count, ("0"..."9").contains(scalars[end]) || scalars[end] == "," { end += 1 }
    guard end > index, end < scalars.count, scalars[end] == "}" else { return false }
    result.append("{")
    result += scalars[index...end]
    index = end + 1
    if peek() == "+" {
      index += 1
      result.insert(contentsOf: Array("(?:".unicodeScalars), at: lastAtom)
      append(")+")
    }
    return true
  }

  private mutating func openSet() {
    depth = 1
    result.append("[")
    if peek() == "^" {
      result.append("^")
      index += 1
    }
    if peek() == "]" {
      append("\\]")
      index += 1
    }
  }

  /// A set within a set adds its members, which is what leaving out the brackets does.
  private mutating func openInnerSet() throws(RegularExpression.Failure) {
    if peek() == ":" {
      // A POSIX class up to its closing bracket.
      result.append("[")
      while let scalar = peek() {
        index += 1
        result.append(scalar)
        if scalar == "]" { return }
      }
      return
    }
    if peek() == "^" {
      throw RegularExpression.Failure(problem: "negated sets within sets are not supported")
    }
    depth += 1
  }

  private mutating func translateEscape() throws(RegularExpression.Failure) {
    guard let scalar = peek() else { throw RegularExpression.Failure(problem: "ends with a backslash") }
    index += 1
    let isInSet = depth > 0
    switch scalar {
    case "s": append(#"\p{White_Space}"#)
    case "S": append(#"\P{White_Space}"#)
    case "d": append(#"\p{Nd}"#)
    case "D": append(#"\P{Nd}"#)
    case "h": append(isInSet ? "0-9a-fA-F" : "[0-9a-fA-F]")
    case "w": append(isInSet ? Self.word : "[\(Self.word)]")
    case "W" where !isInSet: append("[^\(Self.word)]")
    case "b" where !isInSet:
      append("(?:(?<=[\(Self.word)])(?![\(Self.word)])|(?<![\(Self.word)])(?=[\(Self.word)]))")
    case "B" where !isInSet:
      append("(?:(?<=[\(Self.word)])(?=[\(Self.word)])|(?<![\(Self.word)])(?![\(Self.word)]))")
    case "H", "W", "K", "C", "G":
      throw RegularExpression.Failure(problem: "\\\(scalar) is not supported here")
    case "p" where peek() == "{", "P" where peek() == "{": translateProperty(scalar)
    default:
      result.append("\\")
      result.append(scalar)
    }
  }

  /// A property; names of scripts mean the property Script.
  private mutating func translateProperty(_ letter: Unicode.Scalar) {
    var name = String.UnicodeScalarView()
    index += 1
    while let scalar = peek(), scalar != "}" {
      name.append(scalar)
      index += 1
    }
    index += 1
    var text = String(name)
    var isNegated = letter == "P"
    if text.hasPrefix("^") {
      isNegated.toggle()
      text.removeFirst()
    }
    let isScript = text.unicodeScalars.count > 2 && !Self.properties.contains(text)
    append("\\" + (isNegated ? "P" : "p") + "{" + (isScript ? "sc:" : "") + text + "}")
  }
}
