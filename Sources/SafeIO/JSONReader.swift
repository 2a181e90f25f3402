import TensorCore

/// Reads JSON piece by piece, so that large documents need no tree of values.
///
/// Every error carries the byte offset in the region. The reader checks nesting; the caller checks duplicate keys, which
/// ``readValue()`` does for the objects it reads.
@safe
public struct JSONReader {
  private let region: MemoryRegion
  private let bytes: UnsafeRawBufferPointer
  private let end: Int
  private let file: String?
  private let limits: Limits
  private var depth = 0
  private var justOpened = false
  /// Byte offset of the key that was read last.
  public private(set) var keyOffset = 0
  /// Byte offset in the region of what comes next.
  public private(set) var offset: Int

  /// Reads the text in `range` of `region` (all of it by default).
  public init(
    _ region: MemoryRegion, range: Range<Int>? = nil, file: String? = nil, limits: Limits = .standard
  ) {
    let range = (range ?? 0..<region.byteCount).clamped(to: 0..<region.byteCount)
    self.region = region
    unsafe self.bytes = unsafe region.unsafeBytes
    self.offset = range.lowerBound
    self.end = range.upperBound
    self.file = file
    self.limits = limits
  }

  /// The next byte that is not white space, which stays unread; nil at the end.
  public mutating func peek() -> UInt8? {
    while let byte = current {
      guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return byte }
      offset += 1
    }
    return nil
  }

  /// An error about the place `offset` bytes from the start of the region, here by default.
  public func failure(_ problem: String, at offset: Int? = nil) -> SafeIOError {
    .json(file: file, offset: offset ?? self.offset, problem: problem)
  }

  // MARK: Containers

  /// Reads `{`; then ``nextKey()`` until it returns nil.
  public mutating func beginObject() throws(SafeIOError) { try open(UInt8(ascii: "{"), "an object") }

  /// Reads a key and the colon after it; nil when the object ends, which is then read.
  public mutating func nextKey() throws(SafeIOError) -> String? {
    guard try nextItem(closing: UInt8(ascii: "}"), "object") else { return nil }
    guard peek() == UInt8(ascii: "\"") else { throw failure("a key in quotation marks is expected") }
    keyOffset = offset
    let key = try readString()
    try expect(UInt8(ascii: ":"), "a colon after the key")
    return key
  }

  /// Reads `[`; then ``nextElement()`` before each element until it returns false.
  public mutating func beginArray() throws(SafeIOError) { try open(UInt8(ascii: "["), "an array") }

  /// Whether another element comes; false when the array ends, which is then read.
  public mutating func nextElement() throws(SafeIOError) -> Bool {
    try nextItem(closing: UInt8(ascii: "]"), "array")
  }

  /// Checks that nothing but white space is left.
  public mutating func finish() throws(SafeIOError) {
    guard peek() == nil else { throw failure("text after the end of the value") }
  }

  // MARK: Values

  /// Reads any value.
  /// - Throws: ``SafeIOError/json(file:offset:problem:)``, also for a duplicate key.
  public mutating func readValue() throws(SafeIOError) -> JSONValue {
    guard let byte = peek() else { throw failure("the text ends where a value is expected") }
    switch byte {
    case UInt8(ascii: "{"): return .object(try readObject())
    case UInt8(ascii: "["):
      var elements: [JSONValue] = []
      try beginArray()
      while try nextElement() { elements.append(try readValue()) }
      return .array(elements)
    case UInt8(ascii: "\""): return .string(try readString())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try readNumber()
    case 0xEF where offset == 0: throw failure("a byte order mark is not allowed")
    default: throw failure("a value is expected")
    }
  }

  /// Reads an integer that fits `Int64`; `1.0`, `1e3` and `-0` are none.
  public mutating func readInteger() throws(SafeIOError) -> Int64 {
    _ = peek()
    let start = offset
    guard case .integer(let value) = try readValue() else {
      throw failure("an integer is expected", at: start)
    }
    return value
  }

  /// Reads a string.
  public mutating func readString() throws(SafeIOError) -> String {
    try expect(UInt8(ascii: "\""), "a string")
    let start = offset
    while let byte = current {
      if byte == UInt8(ascii: "\"") {
        let text = try text(start..<offset)
        offset += 1
        return text
      }
      if byte == UInt8(ascii: "\\") { return try readEscapedString(from: start) }
      guard byte >= 0x20 else { throw failure("a control character in a string must be escaped") }
      offset += 1
    }
    throw failure("the text ends inside a string")
  }

  // MARK: Parts

  private var current: UInt8? { unsafe offset < end ? bytes[offset] : nil }

  private mutating func expect(_ byte: UInt8, _ what: String) throws(SafeIOError) {
    guard peek() == byte else { throw failure("\(what) is expected") }
    offset += 1
  }

  private mutating func open(_ byte: UInt8, _ what: String) throws(SafeIOError) {
    try expect(byte, what)
    depth += 1
    guard depth <= limits.maxJSONDepth else {
      throw failure("values are nested deeper than \(limits.maxJSONDepth)", at: offset - 1)
    }
    justOpened = true
  }

  private mutating func nextItem(closing: UInt8, _ what: String) throws(SafeIOError) -> Bool {
    guard let byte = peek() else { throw failure("the text ends inside an \(what)") }
    if byte == closing {
      offset += 1
      depth -= 1
      justOpened = false
      return false
    }
    if !justOpened {
      guard byte == UInt8(ascii: ",") else { throw failure("a comma or the end of the \(what) is expected") }
      offset += 1
      guard peek() != closing else { throw failure("a comma before the end of the \(what)") }
    }
    justOpened = false
    return true
  }

  private mutating func readObject() throws(SafeIOError) -> JSONObject {
    var members = JSONObject()
    try beginObject()
    while let key = try nextKey() {
      let start = keyOffset
      let value = try readValue()
      guard members.updateValue(value, forKey: key) == nil else {
        throw failure("the key \"\(Diagnostic.escaped(key, limit: 100))\" appears twice", at: start)
      }
    }
    return members
  }

  private mutating func literal(_ word: String, _ value: JSONValue) throws(SafeIOError) -> JSONValue {
    let start = offset
    for expected in word.utf8 {
      guard current == expected else { throw failure("\"\(word)\" is expected", at: start) }
      offset += 1
    }
    return value
  }

  /// The bytes of a range as text, which must be UTF-8.
  private func text(_ range: Range<Int>) throws(SafeIOError) -> String {
    guard range.count <= limits.maxStringBytes else {
      throw .limit(file: file, what: "bytes of a string", limit: limits.maxStringBytes, found: range.count)
    }
    let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[range])
    if let text = unsafe String(validating: part, as: UTF8.self) { return text }
    throw failure("the text is not UTF-8", at: range.lowerBound + (unsafe UTF8Text.validPrefix(of: part)))
  }

  // MARK: Escapes

  private mutating func readEscapedString(from start: Int) throws(SafeIOError) -> String {
    var result = try text(start..<offset)
    var runStart = offset
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        result += try text(runStart..<offset)
        offset += 1
        guard result.utf8.count <= limits.maxStringBytes else {
          throw .limit(
            file: file, what: "bytes of a string", limit: limits.maxStringBytes, found: result.utf8.count)
        }
        return result
      case UInt8(ascii: "\\"):
        result += try text(runStart..<offset)
        result.unicodeScalars.append(try readEscape())
        runStart = offset
      case 0..<0x20: throw failure("a control character in a string must be escaped")
      default: offset += 1
      }
    }
    throw failure("the text ends inside a string")
  }

  private mutating func readEscape() throws(SafeIOError) -> Unicode.Scalar {
    let start = offset
    offset += 1
    guard let kind = current else { throw failure("the text ends inside an escape", at: start) }
    offset += 1
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(kind)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try readUnicodeEscape(start)
    default: throw failure("an unknown escape", at: start)
    }
  }

  private mutating func readUnicodeEscape(_ start: Int) throws(SafeIOError) -> Unicode.Scalar {
    let first = try readHexadecimal(start)
    if let scalar = Unicode.Scalar(UInt32(first)) { return scalar }
    guard first < 0xDC00, current == UInt8(ascii: "\\") else { throw failure("a lone surrogate", at: start) }
    offset += 1
    guard current == UInt8(ascii: "u") else { throw failure("a lone surrogate", at: start) }
    offset += 1
    let second = try readHexadecimal(start)
    guard (0xDC00...0xDFFF).contains(second),
      let scalar = Unicode.Scalar(0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00))
    else { throw failure("a lone surrogate", at: start) }
    return scalar
  }

  private mutating func readHexadecimal(_ start: Int) throws(SafeIOError) -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch current {
      case let byte? where (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte):
        digit = byte - UInt8(ascii: "0")
      case let byte? where (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte):
        digit = byte - UInt8(ascii: "a") + 10
      case let byte? where (UInt8(ascii: "A")...UInt8(ascii: "F")).contains(byte):
        digit = byte - UInt8(ascii: "A") + 10
      default: throw failure("four hexadecimal digits are expected", at: start)
      }
      value = value << 4 | UInt16(digit)
      offset += 1
    }
    return value
  }

  // MARK: Numbers

  private mutating func readNumber() throws(SafeIOError) -> JSONValue {
    let start = offset
    if current == UInt8(ascii: "-") { offset += 1 }
    let firstDigit = offset
    try skipDigits(start)
    if unsafe offset - firstDigit > 1 && bytes[firstDigit] == UInt8(ascii: "0") {
      throw failure("a number must not begin with zero", at: start)
    }
    if let value = shortInteger(start) { return .integer(value) }
    var isInteger = true
    if current == UInt8(ascii: ".") {
      isInteger = false
      offset += 1
      try skipDigits(start)
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      isInteger = false
      offset += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { offset += 1 }
      try skipDigits(start)
    }
    guard offset - start <= 1024 else { throw failure("a number of more than 1024 characters", at: start) }
    let text = try text(start..<offset)
    if isInteger, text != "-0", let value = Int64(text) { return .integer(value) }
    guard let value = Double(text), value.isFinite else { throw failure("a number out of range", at: start) }
    return .number(value)
  }

  /// The integer whose digits end here, when it is short enough to fit whatever the digits are; nil also for `-0`.
  private func shortInteger(_ start: Int) -> Int64? {
    guard offset - start <= 18, current != UInt8(ascii: "."), current != UInt8(ascii: "e"),
      current != UInt8(ascii: "E")
    else { return nil }
    var value: Int64 = 0
    var isNegative = false
    for index in start..<offset {
      let byte = unsafe bytes[index]
      if byte == UInt8(ascii: "-") {
        isNegative = true
      } else {
        value = value * 10 + Int64(byte - UInt8(ascii: "0"))
      }
    }
    if isNegative && value == 0 { return nil }
    return isNegative ? -value : value
  }

  private mutating func skipDigits(_ start: Int) throws(SafeIOError) {
    let first = offset
    while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
    guard offset > first else { throw failure("a digit is expected") }
  }
}
