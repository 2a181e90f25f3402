/// Checks of UTF-8.
public enum UTF8Text {
  /// How many bytes from the start are well-formed UTF-8 (Unicode 16, table 3-7); all of them when the text is valid.
  public static func validPrefix(of bytes: some RandomAccessCollection<UInt8>) -> Int {
    let bytes = Array(bytes)
    var index = 0
    while index < bytes.count {
      let lead = bytes[index]
      let (length, second): (Int, ClosedRange<UInt8>) =
        switch lead {
        case 0..<0x80: (1, 0x80...0xBF)
        case 0xC2...0xDF: (2, 0x80...0xBF)
        case 0xE0: (3, 0xA0...0xBF)
        case 0xED: (3, 0x80...0x9F)
        case 0xE1...0xEF: (3, 0x80...0xBF)
        case 0xF0: (4, 0x90...0xBF)
        case 0xF1...0xF3: (4, 0x80...0xBF)
        case 0xF4: (4, 0x80...0x8F)
        default: (0, 0x80...0xBF)
        }
      guard length > 0, index + length <= bytes.count else { return index }
      if length > 1 && !second.contains(bytes[index + 1]) { return index }
      for offset in 2..<max(length, 2) where !(0x80...0xBF).contains(bytes[index + offset]) { return index }
      index += length
    }
    return index
  }
}
