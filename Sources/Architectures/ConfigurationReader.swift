import SafeIO

/// Reads a configuration key by key, checks kinds and ranges, and remembers which keys were read.
///
/// `null` is the same as an absent key everywhere.
struct ConfigurationReader {
  private let object: JSONObject
  private let prefix: String
  private var read: Set<String> = []
  private(set) var warnings: [String] = []

  init(_ object: JSONObject, prefix: String = "") {
    self.object = object
    self.prefix = prefix
  }

  /// The key as messages name it.
  func path(_ key: String) -> String { prefix + key }

  /// The value of a key that is there and not null; marks it as read.
  mutating func value(_ key: String) -> JSONValue? {
    read.insert(key)
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  /// Whether the key is there, be it null.
  func has(_ key: String) -> Bool { object[key] != nil }

  /// The spelling of a key that the configuration uses: the first one with a value, or the first of all. Every spelling
  /// counts as read.
  mutating func key(among spellings: [String]) -> String {
    read.formUnion(spellings)
    return spellings.first { object[$0].map { !$0.isNull } ?? false } ?? spellings[0]
  }

  /// Refuses spellings of one key that say different things.
  func requireAgreement(_ spellings: [String]) throws(ArchitectureError) {
    let given = spellings.filter { object[$0].map { !$0.isNull } ?? false }
    guard let first = given.first else { return }
    for other in given.dropFirst() where object[other] != object[first] {
      throw .unsupported(
        key: path(other), found: object[other]?.serialized() ?? "nothing",
        reason: "differs from \(path(first)) \(object[first]?.serialized() ?? "") beside it")
    }
  }

  private func mismatch(_ key: String, expected: String, found: JSONValue?) -> ArchitectureError {
    let text = found.map { $0.serialized() } ?? "nothing"
    return .configuration(
      key: path(key), expected: expected, found: text.count > 80 ? String(text.prefix(80)) + "…" : text)
  }

  /// A whole number inside a range, nil when absent. A number such as `4.0` is whole.
  mutating func optionalInteger(_ key: String, in range: ClosedRange<Int>) throws(ArchitectureError) -> Int? {
    guard let value = value(key) else { return nil }
    let expected = "an integer from \(range.lowerBound) to \(range.upperBound)"
    guard let integer = value.intValue ?? value.doubleValue.flatMap({ Int(exactly: $0) }),
      range.contains(integer)
    else { throw mismatch(key, expected: expected, found: value) }
    return integer
  }

  /// A whole number inside a range.
  mutating func integer(
    _ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil
  ) throws(ArchitectureError) -> Int {
    if let integer = try optionalInteger(key, in: range) ?? fallback { return integer }
    throw mismatch(key, expected: "an integer from \(range.lowerBound) to \(range.upperBound)", found: nil)
  }

  /// A finite number inside a range, nil when absent.
  mutating func optionalNumber(_ key: String, in range: ClosedRange<Double>) throws(ArchitectureError)
    -> Double?
  {
    guard let value = value(key) else { return nil }
    guard let number = value.doubleValue, range.contains(number) else {
      throw mismatch(key, expected: "a number from \(range.lowerBound) to \(range.upperBound)", found: value)
    }
    return number
  }

  /// A finite number inside a range.
  mutating func number(
    _ key: String, in range: ClosedRange<Double>, default fallback: Double? = nil
  ) throws(ArchitectureError) -> Double {
    if let number = try optionalNumber(key, in: range) ?? fallback { return number }
    throw mismatch(key, expected: "a number from \(range.lowerBound) to \(range.upperBound)", found: nil)
  }

  /// A truth value.
  mutating func bool(_ key: String, default fallback: Bool) throws(ArchitectureError) -> Bool {
    guard let value = value(key) else { return fallback }
    guard let bool = value.boolValue else { throw mismatch(key, expected: "true or false", found: value) }
    return bool
  }

  /// Text, nil when absent.
  mutating func optionalString(_ key: String) throws(ArchitectureError) -> String? {
    guard let value = value(key) else { return nil }
    guard let text = value.stringValue else { throw mismatch(key, expected: "a string", found: value) }
    return text
  }

  /// A list of finite numbers inside a range, at most 65536.
  mutating func numbers(_ key: String, in range: ClosedRange<Double>) throws(ArchitectureError) -> [Double] {
    let list = value(key)?.arrayValue ?? []
    let numbers = list.prefix(1 << 16).compactMap(\.doubleValue).filter(range.contains)
    guard !numbers.isEmpty, numbers.count == list.count else {
      throw mismatch(
        key, expected: "numbers from \(range.lowerBound) to \(range.upperBound)", found: value(key))
    }
    return numbers
  }

  /// A list of texts, nil when absent.
  mutating func optionalStrings(_ key: String) throws(ArchitectureError) -> [String]? {
    guard let value = value(key) else { return nil }
    let texts = value.arrayValue?.compactMap(\.stringValue)
    guard let texts, texts.count == value.arrayValue?.count else {
      throw mismatch(key, expected: "a list of strings", found: value)
    }
    return texts
  }

  /// A list of whole numbers inside a range, nil when absent.
  mutating func optionalIntegers(
    _ key: String, in range: ClosedRange<Int>
  ) throws(ArchitectureError) -> [Int]? {
    guard let value = value(key) else { return nil }
    let integers = value.arrayValue?.compactMap(\.intValue).filter(range.contains)
    guard let integers, integers.count == value.arrayValue?.count else {
      throw mismatch(
        key, expected: "integers from \(range.lowerBound) to \(range.upperBound)", found: value)
    }
    return integers
  }

  /// The reader of an object below this one, nil when absent; ``finish(_:)`` takes its findings back.
  mutating func optionalObject(_ key: String) throws(ArchitectureError) -> ConfigurationReader? {
    guard let value = value(key) else { return nil }
    guard let object = value.objectValue else { throw mismatch(key, expected: "an object", found: value) }
    return ConfigurationReader(object, prefix: path(key) + ".")
  }

  /// Takes over the warnings of a reader of a part.
  mutating func finish(_ part: ConfigurationReader) {
    warnings += part.warnings + part.unreadKeyWarnings
  }

  /// Token ids: one, a list, or none.
  mutating func tokens(_ key: String, vocabularySize: Int) throws(ArchitectureError) -> [Int32] {
    guard let value = value(key) else { return [] }
    let list = value.arrayValue ?? [value]
    var tokens: [Int32] = []
    for element in list.prefix(1024) {
      guard let id = element.intValue, let token = Int32(exactly: id), id >= -1 else {
        throw mismatch(key, expected: "token ids", found: value)
      }
      if id < 0 || id >= vocabularySize {
        warn("\(path(key)) \(id) is not a token of the vocabulary of \(vocabularySize) and was left out")
      } else {
        tokens.append(token)
      }
    }
    return tokens
  }

  /// Refuses a key whose value is not one of those that change nothing.
  mutating func require(
    _ key: String, among neutral: [JSONValue], otherwise reason: String
  ) throws(ArchitectureError) {
    guard let value = value(key) else { return }
    let isNeutral = neutral.contains { other in
      if let a = value.doubleValue, let b = other.doubleValue { return a == b }
      return value == other
    }
    guard isNeutral else { throw .unsupported(key: path(key), found: value.serialized(), reason: reason) }
  }

  /// Whether somebody asked for the key.
  func isRead(_ key: String) -> Bool { read.contains(key) }

  /// Marks keys that do not change what the model computes.
  mutating func ignore(_ keys: some Sequence<String>) { read.formUnion(keys) }

  /// Adds a warning.
  mutating func warn(_ message: String) { warnings.append(message) }

  /// One warning that names the keys which nobody read.
  var unreadKeyWarnings: [String] {
    let unread = object.keys.filter { !read.contains($0) }
    if unread.isEmpty { return [] }
    let names = unread.prefix(10).map { "'\(path($0))'" }.joined(separator: ", ")
    let more = unread.count > 10 ? " and \(unread.count - 10) more" : ""
    return ["keys of the configuration that are not known and were not used: \(names)\(more)"]
  }
}
