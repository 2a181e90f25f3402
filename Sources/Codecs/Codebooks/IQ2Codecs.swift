/// GGML's IQ2_XXS, 2.0625 bits: 256 values in 66 bytes.
///
/// `d` f16; for every 32 values four bytes of entries and a word with four times 7 sign bits and the scale on top.
public struct IQ2XXSCodec: SignedCodebookCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq2_xxs" }
  /// Bytes of a block.
  public var blockByteCount: Int { 66 }
  var grid: CodebookGrid { .iq2xxs }
  var unit: Float { 0.125 }
  var partLength: Int { 32 }
  var hasEvenSigns: Bool { true }

  func entry(_ group: Int, of block: Span<UInt8>) -> Int { Int(block[2 + 8 * (group / 4) + group % 4]) }
  func signs(_ octet: Int, of block: Span<UInt8>) -> UInt8 {
    EvenSigns.bits(
      UInt8(truncatingIfNeeded: (block.word32(at: 6 + 8 * (octet / 4)) >> UInt32(7 * (octet % 4))) & 127))
  }
  func scale(_ part: Int, of block: Span<UInt8>) -> Int { Int(block[9 + 8 * part] >> 4) }

  func store(entry: Int, _ group: Int, in block: inout MutableSpan<UInt8>) {
    block[2 + 8 * (group / 4) + group % 4] = UInt8(entry)
  }
  func store(signs: UInt8, _ octet: Int, in block: inout MutableSpan<UInt8>) {
    block.merge(UInt32(signs & 127) << UInt32(7 * (octet % 4)), at: 6 + 8 * (octet / 4))
  }
  func store(scale: Int, _ part: Int, in block: inout MutableSpan<UInt8>) {
    block[9 + 8 * part] |= UInt8(scale) << 4
  }
}

/// GGML's IQ2_XS, 2.3125 bits: 256 values in 74 bytes.
///
/// `d` f16; 32 words of 9 bits of entry and 7 of signs; 8 bytes of two scales each.
public struct IQ2XSCodec: SignedCodebookCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq2_xs" }
  /// Bytes of a block.
  public var blockByteCount: Int { 74 }
  var grid: CodebookGrid { .iq2xs }
  var unit: Float { 0.125 }
  var partLength: Int { 16 }
  var hasEvenSigns: Bool { true }

  func entry(_ group: Int, of block: Span<UInt8>) -> Int { Int(block.word16(at: 2 + 2 * group) & 511) }
  func signs(_ octet: Int, of block: Span<UInt8>) -> UInt8 { EvenSigns.bits(block[3 + 2 * octet] >> 1) }
  func scale(_ part: Int, of block: Span<UInt8>) -> Int {
    Int((block[66 + part / 2] >> UInt8(4 * (part % 2))) & 15)
  }

  func store(entry: Int, _ group: Int, in block: inout MutableSpan<UInt8>) {
    block.merge(UInt16(entry), at: 2 + 2 * group)
  }
  func store(signs: UInt8, _ octet: Int, in block: inout MutableSpan<UInt8>) {
    block[3 + 2 * octet] |= (signs & 127) << 1
  }
  func store(scale: Int, _ part: Int, in block: inout MutableSpan<UInt8>) {
    block[66 + part / 2] |= UInt8(scale) << UInt8(4 * (part % 2))
  }
}

/// GGML's IQ2_S, 2.5625 bits: 256 values in 82 bytes.
///
/// `d` f16; 32 bytes of entries; 32 bytes of signs; 8 bytes with two more bits of four entries each; 8 bytes of two scales
/// each.
public struct IQ2SCodec: SignedCodebookCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq2_s" }
  /// Bytes of a block.
  public var blockByteCount: Int { 82 }
  var grid: CodebookGrid { .iq2s }
  var unit: Float { 0.125 }
  var partLength: Int { 16 }
  var hasEvenSigns: Bool { false }

  func entry(_ group: Int, of block: Span<UInt8>) -> Int {
    Int(block[2 + group]) | Int((block[66 + group / 4] >> UInt8(2 * (group % 4))) & 3) << 8
  }
  func signs(_ octet: Int, of block: Span<UInt8>) -> UInt8 { block[34 + octet] }
  func scale(_ part: Int, of block: Span<UInt8>) -> Int {
    Int((block[74 + part / 2] >> UInt8(4 * (part % 2))) & 15)
  }

  func store(entry: Int, _ group: Int, in block: inout MutableSpan<UInt8>) {
    block[2 + group] = UInt8(entry & 255)
    block[66 + group / 4] |= UInt8(entry >> 8) << UInt8(2 * (group % 4))
  }
  func store(signs: UInt8, _ octet: Int, in block: inout MutableSpan<UInt8>) { block[34 + octet] = signs }
  func store(scale: Int, _ part: Int, in block: inout MutableSpan<UInt8>) {
    block[74 + part / 2] |= UInt8(scale) << UInt8(4 * (part % 2))
  }
}
