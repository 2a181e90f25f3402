import OrderedCollections

/// The members of a JSON object in the order of the text; keys are compared byte by byte (see ``ExactString``).
public struct JSONObject: Sendable, Equatable, RandomAccessCollection, ExpressibleByDictionaryLiteral {
  /// A key and its value.
  public typealias Element = (key: String, value: JSONValue)

  private var members: OrderedDictionary<ExactString, JSONValue>

  /// An object without members.
  public init() { members = [:] }

  /// An object written in the program; the last one of equal keys counts.
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self.init(elements)
  }

  /// The members in the order given; the last one of equal keys counts, at the place of the first.
  public init(_ elements: some Sequence<(String, JSONValue)>) {
    members = [:]
    for (key, value) in elements { members[ExactString(key)] = value }
  }

  /// The value of `key`; setting nil removes the member, setting a new key appends it.
  public subscript(key: String) -> JSONValue? {
    get { members[ExactString(key)] }
    set { members[ExactString(key)] = newValue }
  }

  /// The value of `key`, or `fallback` when there is none.
  public subscript(key: String, default fallback: @autoclosure () -> JSONValue) -> JSONValue {
    get { members[ExactString(key)] ?? fallback() }
    set { members[ExactString(key)] = newValue }
  }

  /// Index of the first member.
  public var startIndex: Int { 0 }
  /// Index after the last member.
  public var endIndex: Int { members.count }
  /// The member at a place.
  public subscript(position: Int) -> Element {
    let element = members.elements[position]
    return (element.key.text, element.value)
  }

  /// The keys in order.
  public var keys: [String] { members.keys.map(\.text) }
  /// The values in order.
  public var values: [JSONValue] { Array(members.values) }

  /// Sets a value and tells the one it replaced.
  @discardableResult
  public mutating func updateValue(_ value: JSONValue, forKey key: String) -> JSONValue? {
    members.updateValue(value, forKey: ExactString(key))
  }

  /// Removes a member and tells its value.
  @discardableResult
  public mutating func removeValue(forKey key: String) -> JSONValue? {
    members.removeValue(forKey: ExactString(key))
  }

  /// Whether keys and values are the same, in the same order.
  public static func == (left: JSONObject, right: JSONObject) -> Bool { left.members == right.members }

  /// Makes room for `count` members.
  mutating func reserveCapacity(_ count: Int) { members.reserveCapacity(count) }
}
