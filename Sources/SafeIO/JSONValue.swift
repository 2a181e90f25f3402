import TensorCore

/// A JSON value as RFC 8259 has it; integers that fit `Int64` stay exact.
public enum JSONValue: Sendable, Equatable {
  /// `null`.
  case null
  /// `true` or `false`.
  case bool(Bool)
  /// A number written without fraction and exponent that fits; `-0` is a ``number(_:)``.
  case integer(Int64)
  /// Any other number, rounded to the nearest double.
  case number(Double)
  /// A text.
  case string(String)
  /// A list.
  case array([JSONValue])
  /// Named values in the order of the text.
  case object(JSONObject)

  /// Parses a whole text.
  ///
  /// Strict: UTF-8 only, no byte order mark, no comments, no duplicate keys (escaped spellings count as the key they
  /// mean), no lone surrogates, no numbers beyond double range, nothing after the value.
  /// - Throws: ``SafeIOError/json(file:offset:problem:)`` with the byte offset.
  public static func parse(
    _ bytes: some Collection<UInt8>, file: String? = nil, limits: Limits = .standard
  ) throws(SafeIOError) -> JSONValue {
    try parse(MemoryRegion(copying: bytes), file: file, limits: limits)
  }

  /// Parses a whole text that lies in `region`, or in `range` of it.
  /// - Throws: ``SafeIOError/json(file:offset:problem:)`` with the byte offset in the region.
  public static func parse(
    _ region: MemoryRegion, range: Range<Int>? = nil, file: String? = nil, limits: Limits = .standard
  ) throws(SafeIOError) -> JSONValue {
    var reader = JSONReader(region, range: range, file: file, limits: limits)
    let value = try reader.readValue()
    try reader.finish()
    return value
  }

  /// Reads and parses a file.
  /// - Throws: ``SafeIOError``.
  public static func parse(contentsOf path: String, limits: Limits = .standard) throws(SafeIOError)
    -> JSONValue
  {
    try parse(MappedFile.open(path, limit: limits.maxDocumentBytes), file: path, limits: limits)
  }

  /// The text of a string.
  public var stringValue: String? {
    if case .string(let value) = self { value } else { nil }
  }

  /// The value of an integer.
  public var intValue: Int? {
    if case .integer(let value) = self { Int(exactly: value) } else { nil }
  }

  /// The value of a number or an integer.
  public var doubleValue: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  /// The value of a truth value.
  public var boolValue: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// The elements of an array.
  public var arrayValue: [JSONValue]? {
    if case .array(let value) = self { value } else { nil }
  }

  /// The members of an object.
  public var objectValue: JSONObject? {
    if case .object(let value) = self { value } else { nil }
  }

  /// Whether this is `null`.
  public var isNull: Bool { self == .null }

  /// The member `key` of an object; nil when this is none or has no such member.
  public subscript(key: String) -> JSONValue? {
    if case .object(let members) = self { members[key] } else { nil }
  }

  /// What kind of value it is, for messages.
  public var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .integer: "an integer"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral,
  ExpressibleByNilLiteral
{
  /// A string.
  public init(stringLiteral value: String) { self = .string(value) }
  /// An integer.
  public init(integerLiteral value: Int64) { self = .integer(value) }
  /// A number.
  public init(floatLiteral value: Double) { self = .number(value) }
  /// A truth value.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  /// An array.
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  /// An object; the last one of equal keys counts.
  public init(dictionaryLiteral elements: (String, JSONValue)...) { self = .object(JSONObject(elements)) }
  /// `null`.
  public init(nilLiteral: ()) { self = .null }
  /// An integer.
  public init(_ value: Int) { self = .integer(Int64(value)) }
}
