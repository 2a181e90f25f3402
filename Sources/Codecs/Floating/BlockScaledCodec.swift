import OrderedCollections
import TensorCore

/// A codec of small floats of which every few columns share a stored scale of one byte.
///
/// Planes: `codes` u8 `[rows, columns * codeBits / 8]`, the first column in the lowest bits; `scales` u8 `[rows, columns / groupLength]`.
protocol BlockScaledCodec: Codec {
  /// Columns that share a scale.
  static var groupLength: Int { get }
  /// Bits of a code, 4 or 8.
  static var codeBits: Int { get }
}

extension BlockScaledCodec {
  /// Checks that a matrix can be rounded: finite, in whole groups.
  /// - Throws: ``CodecError``.
  func checkGroups(of matrix: FloatMatrix, importance: [Float]?) throws(CodecError) {
    try checkInput(matrix, importance: importance)
    guard matrix.columns % Self.groupLength == 0 else {
      throw .invalidParameters(
        codec: canonicalName,
        reason: "rows of \(matrix.columns) columns are not whole groups of \(Self.groupLength)")
    }
  }

  /// The planes of a matrix that was checked.
  /// - Parameter round: writes the codes of a group, which are 0 before, and returns its stored scale.
  /// - Throws: ``CodecError``.
  func planes(
    of matrix: FloatMatrix, importance: [Float]?,
    round: (GroupBuffer, _ codes: inout MutableSpan<UInt8>, inout BlockWorkspace) -> UInt8
  ) throws(CodecError) -> OrderedDictionary<String, Tensor> {
    let length = Self.groupLength
    let groups = matrix.columns / length
    var codes = [UInt8](repeating: 0, count: matrix.values.count)
    var scales = [UInt8](repeating: 0, count: matrix.rows * groups)
    var buffer = GroupBuffer(length: length)
    var workspace = BlockWorkspace()
    var target = codes.mutableSpan
    for group in scales.indices {
      let first = group % groups * length
      buffer.load(matrix, row: group / groups, first..<first + length, importance)
      var part = target._mutatingExtracting(group * length..<(group + 1) * length)
      scales[group] = round(buffer, &part, &workspace)
    }
    let packed = BitPacking.packed(codes, rows: matrix.rows, columns: matrix.columns, bits: Self.codeBits)
    return [
      "codes": try plane(packed, .u8, [matrix.rows, matrix.columns * Self.codeBits / 8]),
      "scales": try plane(scales, .u8, [matrix.rows, groups]),
    ]
  }

  /// Checks the planes of codes and scales, and further ones.
  /// - Throws: ``CodecError``.
  func checkGroupPlanes(
    _ matrix: EncodedMatrix, and further: [PlaneRequirement] = []
  ) throws(CodecError) {
    try checkSize(matrix)
    let length = Self.groupLength
    guard matrix.columns % length == 0 else {
      throw .damagedPlane(
        codec: canonicalName, plane: "codes", expected: "whole groups of \(length) columns",
        found: "\(matrix.columns) columns")
    }
    let wanted = [
      PlaneRequirement("codes", .u8, [matrix.rows, matrix.columns * Self.codeBits / 8]),
      PlaneRequirement("scales", .u8, [matrix.rows, matrix.columns / length]),
    ]
    try checkPlanes(matrix, wanted + further)
  }
}
