import Crypto
import TensorCore

/// A SHA-256 digest (FIPS 180-4), the one checksum that Adze uses.
public struct SHA256Digest: Hashable, Sendable, CustomStringConvertible {
  /// The 32 bytes.
  public let bytes: [UInt8]

  /// Adopts 32 bytes; nil for any other count.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    self.bytes = bytes
  }

  /// Reads 64 hexadecimal digits; nil for anything else.
  public init?(hexadecimal: String) {
    let digits = Array(hexadecimal.utf8)
    guard digits.count == 64 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: 64, by: 2) {
      guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16),
        digits[index] != UInt8(ascii: "+"), digits[index] != UInt8(ascii: "-")
      else { return nil }
      bytes.append(byte)
    }
    self.bytes = bytes
  }

  /// 64 lower-case hexadecimal digits.
  public var hexadecimal: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// 64 lower-case hexadecimal digits.
  public var description: String { hexadecimal }
}

/// Computes checksums of bytes in memory or as they go by.
public struct Checksum {
  private var hasher = SHA256()

  /// Starts a checksum of nothing.
  public init() {}

  /// Adds bytes.
  public mutating func update(_ bytes: UnsafeRawBufferPointer) { unsafe hasher.update(bufferPointer: bytes) }

  /// Adds bytes.
  public mutating func update(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe update($0) }
  }

  /// The digest of all bytes so far.
  public func finish() -> SHA256Digest {
    guard let digest = SHA256Digest(bytes: Array(hasher.finalize())) else {
      preconditionFailure("SHA-256 has 32 bytes")
    }
    return digest
  }

  /// The digest of a byte array.
  public static func sha256(_ bytes: [UInt8]) -> SHA256Digest {
    var checksum = Checksum()
    checksum.update(bytes)
    return checksum.finish()
  }

  /// The digest of a part of a region, all of it by default.
  public static func sha256(_ region: MemoryRegion, range: Range<Int>? = nil) -> SHA256Digest {
    var checksum = Checksum()
    unsafe region.withBytes { bytes in
      let part = range ?? 0..<bytes.count
      unsafe checksum.update(UnsafeRawBufferPointer(rebasing: bytes[part]))
    }
    return checksum.finish()
  }
}
