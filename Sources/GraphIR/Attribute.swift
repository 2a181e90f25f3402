/// A compile-time parameter of a node.
public enum Attribute: Hashable, Sendable {
  /// A whole number.
  case int(Int)
  /// A finite real number; printed with the fewest digits that read back as the same number.
  case float(Double)
  /// Text.
  case string(String)
  /// A truth value.
  case bool(Bool)
  /// A list of whole numbers.
  case ints([Int])

  /// The kind of this attribute.
  public var kind: Kind {
    switch self {
    case .int: .int
    case .float: .float
    case .string: .string
    case .bool: .bool
    case .ints: .ints
    }
  }

  /// What an attribute can hold.
  public enum Kind: String, Sendable {
    case int, float, string, bool, ints
  }

  /// Whether the textual form can hold it: every attribute but infinities and NaN.
  var isPrintable: Bool {
    if case .float(let value) = self { value.isFinite } else { true }
  }

  /// As the textual form writes it.
  var printed: String {
    switch self {
    case .int(let value): String(value)
    case .float(let value): "\(value)"
    case .string(let value): TextForm.quoted(value)
    case .bool(let value): value ? "true" : "false"
    case .ints(let values): "[" + values.map(String.init).joined(separator: ", ") + "]"
    }
  }
}

extension Attribute: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByStringLiteral
{
  /// A whole number.
  public init(integerLiteral value: Int) { self = .int(value) }
  /// A real number.
  public init(floatLiteral value: Double) { self = .float(value) }
  /// A truth value.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  /// Text.
  public init(stringLiteral value: String) { self = .string(value) }
}
