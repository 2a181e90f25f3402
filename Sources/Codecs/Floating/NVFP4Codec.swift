import OrderedCollections
import TensorCore

/// NVFP4: E2M1 codes with an E4M3 scale for every 16 columns under one float32 for the matrix.
///
/// `value = e2m1 * scale * global`. Planes: `codes` u8 `[rows, columns / 2]`, the even column low; `scales` u8
/// `[rows, columns / 16]`, E4M3; `global_scale` f32 `[1]`, multiplied: ModelOpt's `weight_scale_2`, the inverse of
/// compressed-tensors' `weight_global_scale`, which may be kept as a plane `global_divisor`, because inverting twice need not
/// give back the same bits. The global scale is `absmax / (6 * 448)`, a group's `absmax / 6` of what remains;
/// `leastSquares` also tries the neighbouring E4M3 codes.
public struct NVFP4Codec: BlockScaledCodec, Hashable {
  static let groupLength = 16
  static let codeBits = 4

  /// Creates the codec.
  public init() {}

  /// The name.
  public var canonicalName: String { "nvfp4" }

  /// The global scale depends on all rows.
  public var isRowwise: Bool { false }

  /// The global scale.
  public var sharedPlanes: Set<String> { ["global_scale", "global_divisor"] }

  /// 4.5, and the global scale of a square matrix.
  public func bitsPerWeight(columns: Int) -> Double {
    4.5 + 32 / (Double(max(columns, 1)) * Double(max(columns, 1)))
  }

  /// Rounds a matrix; see ``Codec``. Columns must be whole groups of 16.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    let extreme = matrix.values.reduce(Float(0)) { max($0, abs($1)) }
    return try encode(
      matrix, globalScale: extreme > 0 ? max(extreme / (6 * 448), Float.leastNormalMagnitude) : 1,
      importance: importance, search: search)
  }

  /// As ``encode(_:importance:search:)`` under a given global scale, which matrices that an engine fuses must share.
  /// - Throws: ``CodecError``.
  public func encode(
    _ matrix: FloatMatrix, globalScale: Float, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try checkGroups(of: matrix, importance: importance)
    guard globalScale.isFinite, globalScale > 0 else {
      throw .scaleOverflow(row: 0, group: 0, scale: globalScale, type: .f32)
    }
    var planes = try planes(of: matrix, importance: importance) { buffer, codes, workspace in
      let code = scaleCode(buffer, globalScale, search, &workspace)
      let scale = SmallFloat.e4m3Values[Int(code)] * globalScale
      guard scale > 0 else { return code }
      for index in codes.indices { codes[index] = SmallFloat.e2m1(buffer.values[index] / scale) }
      return code
    }
    planes["global_scale"] = try plane(floats: [globalScale], .f32, [1])
    return try EncodedMatrix(codec: self, rows: matrix.rows, columns: matrix.columns, planes: planes)
  }

  private func scaleCode(
    _ buffer: GroupBuffer, _ globalScale: Float, _ search: ScaleSearch, _ workspace: inout BlockWorkspace
  ) -> UInt8 {
    let start = SmallFloat.e4m3(buffer.extreme / 6 / globalScale)
    guard case .leastSquares = search, buffer.extreme > 0 else { return start }
    let candidates = (max(1, Int(start) - 3)...min(0x7E, Int(start) + 6)).map { UInt8($0) }
    let fits = MXFP4Codec.table.gains(
      candidates.map { SmallFloat.e4m3Values[Int($0)] * globalScale }, buffer.values.span,
      buffer.weights.span, &workspace)
    var best = 0
    for index in fits.indices where fits[index].gain > fits[best].gain { best = index }
    return candidates[best]
  }

  /// Checks the planes; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    let shared = ["global_scale"] + (matrix.planes["global_divisor"] == nil ? [] : ["global_divisor"])
    try checkGroupPlanes(matrix, and: shared.map { PlaneRequirement($0, .f32, [1]) })
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    guard let codes = matrix.planes["codes"], let plane = matrix.planes["scales"],
      let global = try? matrix.planes["global_scale"]?.floats().first
    else { return }
    let groups = matrix.columns / NVFP4Codec.groupLength
    let scales = unsafe plane.withBytes { bytes in
      unsafe bytes[rows.lowerBound * groups..<rows.upperBound * groups].map {
        SmallFloat.e4m3Values[Int($0)] * global
      }
    }
    unsafe FourBitPlanes.decode(
      codes, rows: rows, columns: matrix.columns, groupLength: NVFP4Codec.groupLength,
      values: SmallFloat.e2m1Values, scales: scales, into: target)
  }
}
