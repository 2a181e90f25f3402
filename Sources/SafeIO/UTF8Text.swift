/// What is UTF-8 and what is not (Unicode 16, table 3-7).
public enum UTF8Text {
  /// How many bytes from the start are well-formed UTF-8; all of them when the text is valid.
  public static func validPrefix(of bytes: some RandomAccessCollection<UInt8>) -> Int {
    let bytes = Array(bytes)
    var index = 0
    while index < bytes.count {
      guard let (length, second) = sequence(startingWith: bytes[index]), index + length <= bytes.count else {
        return index
      }
      if length > 1 && !second.contains(bytes[index + 1]) { return index }
      for offset in 2..<max(length, 2) where !(0x80...0xBF).contains(bytes[index + offset]) { return index }
      index += length
    }
    return index
  }

  /// `text` itself when it is UTF-8, else a copy where each maximal part that begins no scalar is U+FFFD (section
  /// 3.9, "substitution of maximal subparts").
  public static func repaired(_ text: [UInt8]) -> [UInt8] {
    if (try? UTF8Span(validating: text.span)) != nil { return text }
    return Array(String(decoding: text, as: UTF8.self).utf8)
  }

  /// How many bytes at the end are the beginning of a scalar that more bytes could finish (0 to 3).
  public static func unfinishedSuffixCount(of bytes: [UInt8]) -> Int {
    for count in 1...3 where count <= bytes.count {
      let lead = bytes[bytes.count - count]
      if lead & 0xC0 == 0x80 { continue }
      guard let (length, second) = sequence(startingWith: lead), count < length else { return 0 }
      if count > 1, !second.contains(bytes[bytes.count - count + 1]) { return 0 }
      return count
    }
    return 0
  }

  /// Length of the sequence that `lead` begins, and what its second byte may be; nil when it begins none.
  private static func sequence(startingWith lead: UInt8) -> (length: Int, second: ClosedRange<UInt8>)? {
    switch lead {
    case 0..<0x80: (1, 0x80...0xBF)
    case 0xC2...0xDF: (2, 0x80...0xBF)
    case 0xE0: (3, 0xA0...0xBF)
    case 0xED: (3, 0x80...0x9F)
    case 0xE1...0xEF: (3, 0x80...0xBF)
    case 0xF0: (4, 0x90...0xBF)
    case 0xF1...0xF3: (4, 0x80...0xBF)
    case 0xF4: (4, 0x80...0x8F)
    default: nil
    }
  }
}
