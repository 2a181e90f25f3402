/// GGML's IQ3_XXS, 3.0625 bits: 256 values in 98 bytes.
///
/// `d` f16; 64 bytes of entries of 4 values; for every 32 values a word with four times 7 sign bits and the scale on top.
public struct IQ3XXSCodec: SignedCodebookCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq3_xxs" }
  /// Bytes of a block.
  public var blockByteCount: Int { 98 }
  var grid: CodebookGrid { .iq3xxs }
  var unit: Float { 0.25 }
  var partLength: Int { 32 }
  var hasEvenSigns: Bool { true }

  func entry(_ group: Int, of block: Span<UInt8>) -> Int { Int(block[2 + group]) }
  func signs(_ octet: Int, of block: Span<UInt8>) -> UInt8 {
    EvenSigns.bits(
      UInt8(truncatingIfNeeded: (block.word32(at: 66 + 4 * (octet / 4)) >> UInt32(7 * (octet % 4))) & 127))
  }
  func scale(_ part: Int, of block: Span<UInt8>) -> Int { Int(block[69 + 4 * part] >> 4) }

  func store(entry: Int, _ group: Int, in block: inout MutableSpan<UInt8>) { block[2 + group] = UInt8(entry) }
  func store(signs: UInt8, _ octet: Int, in block: inout MutableSpan<UInt8>) {
    block.merge(UInt32(signs & 127) << UInt32(7 * (octet % 4)), at: 66 + 4 * (octet / 4))
  }
  func store(scale: Int, _ part: Int, in block: inout MutableSpan<UInt8>) {
    block[69 + 4 * part] |= UInt8(scale) << 4
  }
}

/// GGML's IQ3_S, 3.4375 bits: 256 values in 110 bytes.
///
/// `d` f16; 64 bytes of entries of 4 values; 8 bytes with the ninth bit of eight entries each; 32 bytes of signs; 4 bytes of two
/// scales each.
public struct IQ3SCodec: SignedCodebookCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq3_s" }
  /// Bytes of a block.
  public var blockByteCount: Int { 110 }
  var grid: CodebookGrid { .iq3s }
  var unit: Float { 1 }
  var partLength: Int { 32 }
  var hasEvenSigns: Bool { false }

  func entry(_ group: Int, of block: Span<UInt8>) -> Int {
    Int(block[2 + group]) | Int((block[66 + group / 8] >> UInt8(group % 8)) & 1) << 8
  }
  func signs(_ octet: Int, of block: Span<UInt8>) -> UInt8 { block[74 + octet] }
  func scale(_ part: Int, of block: Span<UInt8>) -> Int {
    Int((block[106 + part / 2] >> UInt8(4 * (part % 2))) & 15)
  }

  func store(entry: Int, _ group: Int, in block: inout MutableSpan<UInt8>) {
    block[2 + group] = UInt8(entry & 255)
    block[66 + group / 8] |= UInt8(entry >> 8) << UInt8(group % 8)
  }
  func store(signs: UInt8, _ octet: Int, in block: inout MutableSpan<UInt8>) { block[74 + octet] = signs }
  func store(scale: Int, _ part: Int, in block: inout MutableSpan<UInt8>) {
    block[106 + part / 2] |= UInt8(scale) << UInt8(4 * (part % 2))
  }
}
