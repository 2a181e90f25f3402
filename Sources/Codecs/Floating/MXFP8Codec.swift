import OrderedCollections
import TensorCore

/// MXFP8 of the OCP microscaling specification: E4M3 codes with a power of two for every 32 columns.
///
/// Planes: `codes` u8 `[rows, columns]`; `scales` u8 `[rows, columns / 32]`, E8M0. The exponent is `floor(log2(absmax)) - 8`, so
/// that the largest values of a group may saturate at 448; `leastSquares` also tries the next one up.
public struct MXFP8Codec: BlockScaledCodec, Hashable {
  static let groupLength = 32
  static let codeBits = 8

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
    try checkGroups(of: matrix, importance: importance)
    let planes = try planes(of: matrix, importance: importance) { buffer, codes, _ in
      let scale = exponent(buffer, search)
      let inverse = Float(sign: .plus, exponent: 127 - Int(scale), significand: 1)
      for index in codes.indices { codes[index] = SmallFloat.e4m3(buffer.values[index] * inverse) }
      return scale
    }
    return try EncodedMatrix(codec: self, rows: matrix.rows, columns: matrix.columns, planes: planes)
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
    try checkGroupPlanes(matrix)
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
