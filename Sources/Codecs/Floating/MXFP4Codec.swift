import OrderedCollections
import TensorCore

/// MXFP4 of the OCP microscaling specification: E2M1 codes with a power of two for every 32 columns.
///
/// Planes: `codes` u8 `[rows, columns / 2]`, the even column low; `scales` u8 `[rows, columns / 32]`, E8M0. `extremes` takes the
/// exponent `floor(log2(absmax)) - 2` as the specification and GGML do and rounds ties towards zero as GGML does, so that the
/// result is GGML's bit for bit; `leastSquares` also tries the two next exponents up and the one below.
public struct MXFP4Codec: BlockScaledCodec, Hashable {
  static let table = LevelTable(values: SmallFloat.e2m1Values)
  static let groupLength = 32
  static let codeBits = 4

  /// Creates the codec.
  public init() {}

  /// The name.
  public var canonicalName: String { "mxfp4" }

  /// 4.25.
  public func bitsPerWeight(columns: Int) -> Double { 4.25 }

  /// Rounds a matrix; see ``Codec``. Columns must be whole groups of 32.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try checkGroups(of: matrix, importance: importance)
    let planes = try planes(of: matrix, importance: importance) { buffer, codes, workspace in
      let scale = exponent(buffer, search, &workspace)
      let inverse = Float(sign: .plus, exponent: 127 - Int(scale), significand: 1)
      for index in codes.indices { codes[index] = MXFP4Codec.code(buffer.values[index] * inverse) }
      return scale
    }
    return try EncodedMatrix(codec: self, rows: matrix.rows, columns: matrix.columns, planes: planes)
  }

  private func exponent(_ buffer: GroupBuffer, _ search: ScaleSearch, _ workspace: inout BlockWorkspace)
    -> UInt8
  {
    let extreme = buffer.extreme
    guard extreme > 0 else { return 0 }
    let start = max(0, Int(SmallFloat.e8m0(floorOf: extreme)) - 2)
    guard case .leastSquares = search else { return UInt8(start) }
    let candidates = [start, start + 1, start + 2, max(0, start - 1)].filter { $0 <= 254 }
    let fits = MXFP4Codec.table.gains(
      candidates.map { SmallFloat.e8m0Values[$0] }, buffer.values.span, buffer.weights.span, &workspace)
    var best = 0
    for index in fits.indices where fits[index].gain > fits[best].gain { best = index }
    return UInt8(candidates[best])
  }

  /// The nearest E2M1 code, ties towards zero; what becomes zero loses its sign.
  static func code(_ value: Float) -> UInt8 {
    let magnitude = abs(value)
    var code: UInt8 = 0
    for bound: Float in [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5] where magnitude > bound { code += 1 }
    return value < 0 && code > 0 ? code | 8 : code
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
    let groups = matrix.columns / MXFP4Codec.groupLength
    let scales = unsafe plane.withBytes { bytes in
      unsafe bytes[rows.lowerBound * groups..<rows.upperBound * groups].map { SmallFloat.e8m0Values[Int($0)] }
    }
    unsafe FourBitPlanes.decode(
      codes, rows: rows, columns: matrix.columns, groupLength: MXFP4Codec.groupLength,
      values: SmallFloat.e2m1Values, scales: scales, into: target)
  }
}
