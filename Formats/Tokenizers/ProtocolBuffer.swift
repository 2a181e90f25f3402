/// Reads the wire format of protocol buffers, one field after the other; every length is checked.
///
/// Source: the published description of the encoding.
struct ProtocolBuffer {
  /// A field as it stands on the wire.
  struct Field {
    /// Its number.
    var number: Int
    fileprivate var value: Value
  }

  fileprivate enum Value {
    case integer(UInt64)
    case bytes(ArraySlice<UInt8>)
    case fixed32(UInt32)
    case fixed64(UInt64)
  }

  private let bytes: ArraySlice<UInt8>
  private var index: Int
  private let path: String
  private let file: String?

  /// A message; `path` is its name in errors.
  init(_ bytes: ArraySlice<UInt8>, path: String, file: String?) {
    self.bytes = bytes
    index = bytes.startIndex
    self.path = path
    self.file = file
  }

  /// The next field; nil at the end.
  /// - Throws: ``TokenizerError`` when the message ends inside of a field, or a kind is not known.
  mutating func next() throws(TokenizerError) -> Field? {
    if index == bytes.endIndex { return nil }
    let key = try varint()
    guard let number = Int(exactly: key >> 3), number > 0 else {
      throw invalid("", "a field number above 0", "0")
    }
    switch key & 7 {
    case 0: return Field(number: number, value: .integer(try varint()))
    case 1: return Field(number: number, value: .fixed64(try fixed(8)))
    case 2:
      let count = try varint()
      guard count <= UInt64(bytes.endIndex - index) else {
        throw invalid("", "\(count) bytes at byte \(index)", "\(bytes.endIndex - index)")
      }
      let start = index
      index += Int(count)
      return Field(number: number, value: .bytes(bytes[start..<index]))
    case 5: return Field(number: number, value: .fixed32(UInt32(truncatingIfNeeded: try fixed(4))))
    default: throw invalid("", "a wire type of 0, 1, 2 or 5", "\(key & 7) at byte \(index)")
    }
  }

  private mutating func varint() throws(TokenizerError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard index < bytes.endIndex else { throw invalid("", "more bytes", "the end at byte \(index)") }
      let byte = bytes[index]
      index += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw invalid("", "an integer of at most ten bytes", "a longer one at byte \(index)")
  }

  private mutating func fixed(_ count: Int) throws(TokenizerError) -> UInt64 {
    guard bytes.endIndex - index >= count else { throw invalid("", "more bytes", "the end at byte \(index)") }
    var value: UInt64 = 0
    for offset in 0..<count { value |= UInt64(bytes[index + offset]) << UInt64(offset * 8) }
    index += count
    return value
  }

  /// A field that is an integer (as two's complement) or a truth value.
  func integer(_ field: Field) throws(TokenizerError) -> Int64 {
    guard case .integer(let value) = field.value else { throw mismatch(field, "an integer") }
    return Int64(bitPattern: value)
  }

  /// A field that is a number of single precision.
  func float(_ field: Field) throws(TokenizerError) -> Float {
    guard case .fixed32(let value) = field.value else { throw mismatch(field, "a float") }
    return Float(bitPattern: value)
  }

  /// A field that is bytes or text.
  func bytes(_ field: Field) throws(TokenizerError) -> ArraySlice<UInt8> {
    guard case .bytes(let value) = field.value else { throw mismatch(field, "bytes") }
    return value
  }

  /// A field that is a message.
  func message(_ field: Field, _ name: String) throws(TokenizerError) -> ProtocolBuffer {
    ProtocolBuffer(try bytes(field), path: name, file: file)
  }

  private func mismatch(_ field: Field, _ expected: String) -> TokenizerError {
    invalid("field \(field.number)", expected, "another wire type")
  }

  /// An error in this message.
  func invalid(_ name: String, _ expected: String, _ found: String) -> TokenizerError {
    .invalid(file: file, path: name.isEmpty ? path : "\(path).\(name)", expected: expected, found: found)
  }
}
