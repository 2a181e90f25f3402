import TensorCore

/// GGML's IQ1_S, 1.5625 bits: 256 values in 50 bytes, decoded only.
///
/// `d` f16, 32 bytes of entry indices, 8 words of 16 bits: of each 32 values three index bits for every 8 values, the
/// block's scale `2 s + 1` in bits 12...14, and in bit 15 the sign of the offset 1/8 that every value is moved by.
public struct IQ1SCodec: BlockwiseCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq1_s" }
  /// Values of a block.
  public var blockLength: Int { 256 }
  /// Bytes of a block.
  public var blockByteCount: Int { 50 }
  var encodingRefusal: String? { IQ1MCodec.refusal }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let scale = block.half(at: 0)
    let table = CodebookGrid.iq1s.values
    let grid = table.span
    for part in 0..<8 {
      let word = block.word16(at: 34 + 2 * part)
      let step = scale * Float(2 * ((word >> 12) & 7) + 1)
      let offset: Float = word & 0x8000 == 0 ? 0.125 : -0.125
      for group in 0..<4 {
        let high = Int((word >> UInt16(3 * group)) & 7) << 8
        let entry = 8 * (Int(block[2 + 4 * part + group]) | high)
        for index in 0..<8 { target[32 * part + 8 * group + index] = step * (grid[entry + index] + offset) }
      }
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {}
}

/// GGML's IQ1_M, 1.75 bits: 256 values in 56 bytes, decoded only.
///
/// 32 bytes of entry indices; 16 bytes, a nibble for every 8 values, of three more index bits and the sign of the offset 1/8;
/// four words of 16 bits with a scale of three bits for every 16 values and, in their top nibbles, the f16 scale.
public struct IQ1MCodec: BlockwiseCodec, Hashable {
  static let refusal = "it can be read, but there is no encoder; use iq2_xxs or a larger type"

  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "iq1_m" }
  /// Values of a block.
  public var blockLength: Int { 256 }
  /// Bytes of a block.
  public var blockByteCount: Int { 56 }
  var scaleOffset: Int? { nil }
  var encodingRefusal: String? { IQ1MCodec.refusal }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let half = (0..<4).reduce(UInt16(0)) { bits, index in
      bits | (block.word16(at: 48 + 2 * index) >> 12) << UInt16(4 * index)
    }
    let scale = Float(Float16(bitPattern: half))
    let table = CodebookGrid.iq1s.values
    let grid = table.span
    for group in 0..<32 {
      let word = block.word16(at: 48 + 2 * (group / 8))
      let step = scale * Float(2 * ((word >> UInt16(3 * (group / 2 % 4))) & 7) + 1)
      let nibble = (block[32 + group / 2] >> UInt8(4 * (group % 2))) & 15
      let offset: Float = nibble & 8 == 0 ? 0.125 : -0.125
      let entry = 8 * (Int(block[group]) | Int(nibble & 7) << 8)
      for index in 0..<8 { target[8 * group + index] = step * (grid[entry + index] + offset) }
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {}
}
