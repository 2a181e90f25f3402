/// The alphabet in which byte-level vocabularies write bytes: each byte is one printable scalar (GPT-2).
///
/// Printable Latin-1 stands for itself; the other 68 bytes are U+0100 and the scalars after it, in order.
enum ByteAlphabet {
  /// The scalar of each byte.
  static let scalars: [UInt32] = {
    var next: UInt32 = 0x100
    return (UInt32(0)..<256).map { byte in
      if isPrintable(byte) { return byte }
      defer { next += 1 }
      return next
    }
  }()

  /// The byte of each scalar below U+0144, -1 where there is none.
  private static let bytes: [Int16] = {
    var bytes = Array(repeating: Int16(-1), count: 0x144)
    for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar)] = Int16(byte) }
    return bytes
  }()

  private static func isPrintable(_ byte: UInt32) -> Bool {
    (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
  }

  /// The bytes that `token` stands for; nil when a scalar is none of the alphabet.
  static func bytes(of token: String) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(token.utf8.count)
    for scalar in token.unicodeScalars {
      guard scalar.value < bytes.count, bytes[Int(scalar.value)] >= 0 else { return nil }
      result.append(UInt8(bytes[Int(scalar.value)]))
    }
    return result
  }

  /// The text that stands for one byte.
  static func token(of byte: UInt8) -> String {
    String(Unicode.Scalar(scalars[Int(byte)]) ?? "\u{FFFD}")
  }
}
