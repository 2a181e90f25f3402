import OrderedCollections
import TensorCore

/// MLX's affine quantization: unsigned codes with a scale and a bias per group of columns, `value = code * scale + bias`.
///
/// Planes: `codes` u8 `[rows, ceil(columns * bits / 8)]`, packed LSB first; `scales` and `biases` `[rows, groups]` of f16, bf16 or
/// f32. `extremes` is MLX's rule bit for bit: one edge of the range, the larger in magnitude, is the bias, and the scale is
/// adjusted so that zero is a whole number of steps away; scales are negative when that edge is the upper one.
public struct AffineCodec: Codec, Hashable {
  /// Bits per code, 2...8.
  public let bits: Int
  /// Columns that share a scale and a bias.
  public let groupSize: Int
  /// Storage type of scales and biases: f16, bf16 or f32.
  public let scaleType: ElementType

  /// Creates the codec.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)``.
  public init(bits: Int, groupSize: Int = 64, scaleType: ElementType = .f16) throws(CodecError) {
    let name = "affine\(bits)"
    guard (2...8).contains(bits) else {
      throw .invalidParameters(codec: name, reason: "affine codecs have 2 to 8 bits")
    }
    guard (2...1 << 24).contains(groupSize) else {
      throw .invalidParameters(
        codec: name, reason: "group size \(groupSize) is out of range; use 2 to 16777216")
    }
    guard [.f16, .bf16, .f32].contains(scaleType) else {
      throw .invalidParameters(codec: name, reason: "scales are f16, bf16 or f32, not \(scaleType.name)")
    }
    self.bits = bits
    self.groupSize = groupSize
    self.scaleType = scaleType
  }

  /// `affine4-g64`; the scale type follows unless it is f16.
  public var canonicalName: String {
    "affine\(bits)-g\(groupSize)" + (scaleType == .f16 ? "" : "-\(scaleType.name)")
  }

  func groupCount(columns: Int) -> Int { Checked.ceilingQuotient(columns, groupSize) }

  /// Exact storage in bits per weight.
  public func bitsPerWeight(columns: Int) -> Double {
    let bytes =
      BitPacking.bytesPerRow(count: columns, bits: bits) + 2 * groupCount(columns: columns)
      * (scaleType.bitWidth / 8)
    return Double(bytes) * 8 / Double(max(columns, 1))
  }

  /// Rounds a matrix; see ``Codec``.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try checkInput(matrix, importance: importance)
    let groups = groupCount(columns: matrix.columns)
    let rowBytes = BitPacking.bytesPerRow(count: matrix.columns, bits: bits)
    var packed = [UInt8](repeating: 0, count: matrix.rows * rowBytes)
    var lines: [AffineLine] = []
    lines.reserveCapacity(matrix.rows * groups)
    var codes = [UInt8](repeating: 0, count: matrix.columns)
    var target = packed.mutableSpan
    for row in 0..<matrix.rows {
      for group in 0..<groups {
        let range = group * groupSize..<min((group + 1) * groupSize, matrix.columns)
        let base = row * matrix.columns
        let values = matrix.values.span.extracting(base + range.lowerBound..<base + range.upperBound)
        let line = fit(values, importance?.span.extracting(range), search)
        let stored = line.rounded(to: scaleType)
        guard stored.scale.isFinite, stored.bias.isFinite else {
          throw .scaleOverflow(row: row, group: group, scale: line.scale, type: scaleType)
        }
        lines.append(stored)
        for index in values.indices {
          codes[range.lowerBound + index] = UInt8(line.code(values[index], maximumCode))
        }
      }
      var rowSpan = target._mutatingExtracting(row * rowBytes..<(row + 1) * rowBytes)
      BitPacking.pack(codes.span, bits: bits, into: &rowSpan)
    }
    return try EncodedMatrix(
      codec: self, rows: matrix.rows, columns: matrix.columns,
      planes: [
        "codes": plane(packed, .u8, [matrix.rows, rowBytes]),
        "scales": plane(floats: lines.map(\.scale), scaleType, [matrix.rows, groups]),
        "biases": plane(floats: lines.map(\.bias), scaleType, [matrix.rows, groups]),
      ])
  }

  private var maximumCode: Float { Float(1 << bits - 1) }

  /// The line that codes are chosen by; it is rounded to the storage type except under `extremes`, where MLX chooses codes first.
  private func fit(_ values: Span<Float>, _ importance: Span<Float>?, _ search: ScaleSearch) -> AffineLine {
    var low = values.isEmpty ? 0 : values[0]
    var high = low
    for index in values.indices {
      low = min(low, values[index])
      high = max(high, values[index])
    }
    let start = AffineLine(low: low, high: high, maximumCode: maximumCode)
    guard case .leastSquares(let steps, let smallest) = search else { return start }
    var best = start.rounded(to: scaleType)
    guard best.scale.isFinite, best.scale != 0, best.bias.isFinite else { return start }
    var bestError = best.error(values, importance, maximumCode)
    for step in 0..<max(1, steps / 2) {
      let shrink = 1 - (1 - smallest) * Float(step) / Float(max(1, steps / 2 - 1))
      var line = AffineLine(low: low * shrink, high: high * shrink, maximumCode: maximumCode)
      for _ in 0..<2 {
        line = line.refined(values, importance, maximumCode).rounded(to: scaleType)
        guard line.scale.isFinite, line.scale != 0, line.bias.isFinite else { break }
        let error = line.error(values, importance, maximumCode)
        if error < bestError { (best, bestError) = (line, error) }
      }
    }
    return best
  }

  /// Checks the planes; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    try checkSize(matrix)
    let groups = groupCount(columns: matrix.columns)
    let rowBytes = BitPacking.bytesPerRow(count: matrix.columns, bits: bits)
    try checkPlanes(
      matrix,
      [
        PlaneRequirement("codes", .u8, [matrix.rows, rowBytes]),
        PlaneRequirement("scales", scaleType, [matrix.rows, groups]),
        PlaneRequirement("biases", scaleType, [matrix.rows, groups]),
      ])
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    let groups = groupCount(columns: matrix.columns)
    let rowBytes = BitPacking.bytesPerRow(count: matrix.columns, bits: bits)
    let range = rows.lowerBound * groups..<rows.upperBound * groups
    guard let plane = matrix.planes["codes"],
      let scales = try? matrix.planes["scales"]?.floats(elements: range),
      let biases = try? matrix.planes["biases"]?.floats(elements: range)
    else { return }
    var codes = [UInt8](repeating: 0, count: matrix.columns)
    unsafe plane.withBytes { raw in
      let bytes = unsafe Span(_unsafeElements: raw.assumingMemoryBound(to: UInt8.self))
      for (index, row) in rows.enumerated() {
        var span = codes.mutableSpan
        BitPacking.unpack(bytes.extracting(row * rowBytes..<(row + 1) * rowBytes), bits: bits, into: &span)
        for group in 0..<groups {
          let scale = scales[index * groups + group]
          let bias = biases[index * groups + group]
          for column in group * groupSize..<min((group + 1) * groupSize, matrix.columns) {
            unsafe target[index * matrix.columns + column] = Float(codes[column]) * scale + bias
          }
        }
      }
    }
  }
}

/// The line from codes to values of one group.
struct AffineLine {
  var scale: Float
  var bias: Float

  init(scale: Float, bias: Float) {
    self.scale = scale
    self.bias = bias
  }

  /// MLX's choice for a range of values, in float32.
  init(low: Float, high: Float, maximumCode: Float) {
    let isLowLarger = abs(low) > abs(high)
    let width = max((high - low) / maximumCode, 1e-7)
    scale = isLowLarger ? width : -width
    let edge = isLowLarger ? low : high
    let steps = (edge / scale).rounded(.toNearestOrEven)
    if steps != 0 { scale = edge / steps }
    bias = steps == 0 ? 0 : edge
  }

  func rounded(to type: ElementType) -> AffineLine {
    AffineLine(scale: type.rounded(scale), bias: type.rounded(bias))
  }

  @inline(__always)
  func code(_ value: Float, _ maximumCode: Float) -> Float {
    min(maximumCode, max(0, roundToEven((value - bias) / scale)))
  }

  /// The least-squares line for the codes that this one gives.
  func refined(_ values: Span<Float>, _ importance: Span<Float>?, _ maximumCode: Float) -> AffineLine {
    var (w, wc, wcc, wx, wcx): (Float, Float, Float, Float, Float) = (0, 0, 0, 0, 0)
    for index in values.indices {
      let weight = importance?[index] ?? 1
      let code = code(values[index], maximumCode)
      w += weight
      wc += weight * code
      wcc += weight * code * code
      wx += weight * values[index]
      wcx += weight * code * values[index]
    }
    let determinant = w * wcc - wc * wc
    guard determinant > 0 else { return self }
    return AffineLine(scale: (w * wcx - wc * wx) / determinant, bias: (wcc * wx - wc * wcx) / determinant)
  }

  func error(_ values: Span<Float>, _ importance: Span<Float>?, _ maximumCode: Float) -> Float {
    var sum: Float = 0
    for index in values.indices {
      let difference = values[index] - (code(values[index], maximumCode) * scale + bias)
      sum += difference * difference * (importance?[index] ?? 1)
    }
    return sum
  }
}
