import TensorCore

/// Rounds to the nearest integer, halves away from zero, as C's lroundf does.
@inline(__always)
private func rounded(_ value: Float) -> Int { Int(value.rounded(.toNearestOrAwayFromZero)) }

/// Largest magnitude and its inverse, 0 when all values are 0.
private func range(_ values: Span<Float>) -> (largest: Float, inverse: Float) {
  var largest: Float = 0
  for index in values.indices { largest = max(largest, abs(values[index])) }
  return (largest, largest == 0 ? 0 : 1 / largest)
}

/// A ternary digit 0...2 of a value under the inverse of the largest magnitude. The bound matters only where the inverse
/// of a subnormal is infinite.
@inline(__always)
private func trit(_ value: Float, _ inverse: Float) -> Int {
  let scaled = value * inverse
  return rounded(max(-1, min(1, scaled.isNaN ? 0 : scaled))) + 1
}

/// GGML's TQ2_0, 2.0625 bits: 256 values in 66 bytes, -1, 0 or 1 times `d`.
///
/// 64 bytes of four 2-bit codes, those of one byte 32 values apart; `d` f16. Encoded as the reference does: `d` is the
/// largest magnitude, whatever the search.
public struct TQ2Codec: BlockwiseCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "tq2_0" }
  /// Values of a block.
  public var blockLength: Int { 256 }
  /// Bytes of a block.
  public var blockByteCount: Int { 66 }
  var scaleOffset: Int? { 64 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let scale = block.half(at: 64)
    for half in 0..<2 {
      for place in 0..<4 {
        for index in 0..<32 {
          let code = (block[32 * half + index] >> UInt8(2 * place)) & 3
          target[128 * half + 32 * place + index] = Float(Int(code) - 1) * scale
        }
      }
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    let (largest, inverse) = range(values)
    block.store(half: Float16(largest), at: 64)
    for half in 0..<2 {
      for place in 0..<4 {
        for index in 0..<32 {
          let code = trit(values[128 * half + 32 * place + index], inverse)
          block[32 * half + index] |= UInt8(code) << UInt8(2 * place)
        }
      }
    }
  }
}

/// GGML's TQ1_0, 1.6875 bits: 256 values in 54 bytes, -1, 0 or 1 times `d`.
///
/// Bytes hold five digits of base 3 as a fraction of 256, the first digit the most significant: 32 bytes of digits 32 values
/// apart, 16 bytes of digits 16 apart, 4 bytes of only four digits 4 apart; then `d` f16. Encoded as the reference
/// does, whatever the search.
public struct TQ1Codec: BlockwiseCodec, Hashable {
  /// Runs of bytes: where they start, how many, the first value, digits of a byte.
  private static let runs = [(0, 32, 0, 5), (32, 16, 160, 5), (48, 4, 240, 4)]
  private static let powers: [UInt8] = [1, 3, 9, 27, 81]

  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "tq1_0" }
  /// Values of a block.
  public var blockLength: Int { 256 }
  /// Bytes of a block.
  public var blockByteCount: Int { 54 }
  var scaleOffset: Int? { 52 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let scale = block.half(at: 52)
    for (start, count, first, digits) in TQ1Codec.runs {
      for digit in 0..<digits {
        for index in 0..<count {
          let shifted = block[start + index] &* TQ1Codec.powers[digit]
          target[first + digit * count + index] = Float(Int((UInt16(shifted) * 3) >> 8) - 1) * scale
        }
      }
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    let (largest, inverse) = range(values)
    block.store(half: Float16(largest), at: 52)
    for (start, count, first, digits) in TQ1Codec.runs {
      for index in 0..<count {
        var number = 0
        for digit in 0..<5 {
          number = 3 * number + (digit < digits ? trit(values[first + digit * count + index], inverse) : 0)
        }
        block[start + index] = UInt8((number * 256 + 242) / 243)
      }
    }
  }
}

/// GGML's Q1_0, 1.125 bits: 128 values in 18 bytes, plus or minus `d`.
///
/// `d` f16, the mean magnitude as in the reference (least squares, as it happens, when all weights are equal);
/// `leastSquares` takes the weighted mean. Then a bit for every value, set for plus.
public struct Q1Codec: BlockwiseCodec, Hashable {
  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "q1_0" }
  /// Values of a block.
  public var blockLength: Int { 128 }
  /// Bytes of a block.
  public var blockByteCount: Int { 18 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let scale = block.half(at: 0)
    for index in 0..<128 {
      let bit = block[2 + index / 8] >> UInt8(index % 8) & 1
      target[index] = bit == 0 ? -scale : scale
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    var sum: Float = 0
    var weight: Float = 0
    for index in 0..<128 {
      let factor: Float = search == .extremes ? 1 : weights[index]
      sum += factor * abs(values[index])
      weight += factor
      if values[index] >= 0 { block[2 + index / 8] |= 1 << UInt8(index % 8) }
    }
    block.store(half: Float16(weight > 0 ? sum / weight : 0), at: 0)
  }
}

/// GGML's Q2_0, 2.25 bits: 64 values in 18 bytes, -1, 0, 1 or 2 times `d`.
///
/// `d` f16, then four 2-bit codes a byte. `extremes` is the reference: `d` is the largest magnitude, so that 2 is never
/// used. `leastSquares` searches the scale, negative ones included, which mirror the values.
public struct Q2Codec: BlockwiseCodec, Hashable {
  private static let table = LevelTable(values: [-1, 0, 1, 2])

  /// Creates the codec.
  public init() {}
  /// The name.
  public var canonicalName: String { "q2_0" }
  /// Values of a block.
  public var blockLength: Int { 64 }
  /// Bytes of a block.
  public var blockByteCount: Int { 18 }

  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>) {
    let scale = block.half(at: 0)
    for index in 0..<64 {
      let code = block[2 + index / 4] >> UInt8(2 * (index % 4)) & 3
      target[index] = Float(Int(code) - 1) * scale
    }
  }

  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>
  ) {
    if case .leastSquares = search {
      let stored = Float16(Q2Codec.table.bestFit(values, weights, &workspace).scale)
      block.store(half: stored, at: 0)
      var places = [UInt8](repeating: 0, count: 64)
      var span = places.mutableSpan
      Q2Codec.table.places(values, scale: Float(stored), into: &span)
      for index in 0..<64 { block[2 + index / 4] |= min(places[index], 3) << UInt8(2 * (index % 4)) }
      return
    }
    let (largest, inverse) = range(values)
    block.store(half: Float16(largest), at: 0)
    for index in 0..<64 {
      block[2 + index / 4] |= UInt8(trit(values[index], inverse)) << UInt8(2 * (index % 4))
    }
  }
}
