import OrderedCollections
import TensorCore

/// MXFP8 of the OCP microscaling specification: E4M3 codes with a power of two for every 32 columns.
///
/// Planes: `codes` u8 `[rows, columns]`; `scales` u8 `[rows, columns / 32]`, E8M0. The exponent is `floor(log2(absmax)) - 8`, so
/// that the largest values of a group may saturate at 448; `leastSquares` also tries the next one up.
public struct MXFP8Codec: Codec, Hashable {
  static let groupLength = 32

  /// Creates the codec.
  public init() {}

  /// The name.
  public var canonicalName: String { "mxfp8" }

  /// 8.25.
  public func bitsPerWeight(columns: Int) -> Double { 8.25 }

  /// Rounds a matrix; see ``Codec``. Columns must be whole groups of 32.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try checkInput(matrix, importance: importance)
    let length = MXFP8Codec.groupLength
    guard matrix.columns % length == 0 else {
      throw .invalidParameters(
        codec: canonicalName, reason: "rows of \(matrix.columns) columns are not whole groups of \(length)")
    }
    let groups = matrix.columns / length
    var codes = [UInt8](repeating: 0, count: matrix.values.count)
    var scales = [UInt8](repeating: 0, count: matrix.rows * groups)
    var buffer = GroupBuffer(length: length)
    for group in scales.indices {
      let first = group % groups * length
      buffer.load(matrix, row: group / groups, first..<first + length, importance)
      scales[group] = exponent(buffer, search)
      let inverse = Float(sign: .plus, exponent: 127 - Int(scales[group]), significand: 1)
      for index in 0..<length {
        codes[group * length + index] = SmallFloat.e4m3(buffer.values[index] * inverse)
      }
    }
    return try EncodedMatrix(
      codec: self, rows: matrix.rows, columns: matrix.columns,
      planes: [
        "codes": plane(codes, .u8, [matrix.rows, matrix.columns]),
        "scales": plane(scales, .u8, [matrix.rows, groups]),
      ])
  }

  private func exponent(_ buffer: GroupBuffer, _ search: ScaleSearch) -> UInt8 {
    guard buffer.extreme > 0 else { return 0 }
    let start = max(0, Int(SmallFloat.e8m0(floorOf: buffer.extreme)) - 8)
    guard case .leastSquares = search, start < 254 else { return UInt8(start) }
    return UInt8(error(buffer, start + 1) < error(buffer, start) ? start + 1 : start)
  }

  private func error(_ buffer: GroupBuffer, _ exponent: Int) -> Float {
    let scale = SmallFloat.e8m0Values[exponent]
    return buffer.values.indices.reduce(Float(0)) { sum, index in
      let value = buffer.values[index]
      let difference = value - SmallFloat.e4m3Values[Int(SmallFloat.e4m3(value / scale))] * scale
      return sum + difference * difference * buffer.weights[index]
    }
  }

  /// Checks the planes; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    try checkSize(matrix)
    guard matrix.columns % MXFP8Codec.groupLength == 0 else {
      throw .damagedPlane(
        codec: canonicalName, plane: "codes", expected: "whole groups of 32 columns",
        found: "\(matrix.columns) columns")
    }
    try checkPlanes(
      matrix,
      [
        PlaneRequirement("codes", .u8, [matrix.rows, matrix.columns]),
        PlaneRequirement("scales", .u8, [matrix.rows, matrix.columns / MXFP8Codec.groupLength]),
      ])
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    guard let codes = matrix.planes["codes"], let plane = matrix.planes["scales"] else { return }
    let columns = matrix.columns
    let values = SmallFloat.e4m3Values
    unsafe plane.withBytes { scales in
      unsafe codes.withBytes { bytes in
        for (index, row) in rows.enumerated() {
          for column in 0..<columns {
            let scale = unsafe SmallFloat.e8m0Values[
              Int(scales[(row * columns + column) / MXFP8Codec.groupLength])]
            unsafe target[index * columns + column] =
              unsafe values[Int(bytes[row * columns + column])] * scale
          }
        }
      }
    }
  }
}
