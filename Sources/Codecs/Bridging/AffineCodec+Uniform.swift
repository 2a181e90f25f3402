import OrderedCollections
import TensorCore

extension AffineCodec: UniformGroupCodec {
  /// The grid.
  public func uniformGrid(columns: Int) -> UniformGrid? {
    UniformGrid(
      groupLength: max(1, min(groupSize, columns)), maximumCode: 1 << bits - 1, origin: .minimum,
      scaleType: scaleType)
  }

  /// Scales and biases as stored.
  public func uniformParameters(of matrix: EncodedMatrix) -> UniformParameters {
    UniformParameters(
      scales: (try? matrix.planes["scales"]?.floats()) ?? [],
      minimums: (try? matrix.planes["biases"]?.floats()) ?? [])
  }

  /// The codes as stored.
  public func uniformCodes(of matrix: EncodedMatrix, rows: Range<Int>) -> [UInt8] {
    guard let plane = matrix.planes["codes"] else { return [] }
    return BitPacking.unpacked(plane, rows: rows, columns: matrix.columns, bits: bits)
  }

  /// Packs codes and parameters.
  public func assemble(
    rows: Int, columns: Int, uniformCodes codes: [UInt8], parameters: UniformParameters
  ) throws(CodecError) -> EncodedMatrix {
    let shape = [rows, groupCount(columns: columns)]
    let packed = BitPacking.packed(codes, rows: rows, columns: columns, bits: bits)
    return try EncodedMatrix(
      codec: self, rows: rows, columns: columns,
      planes: [
        "codes": plane(packed, .u8, [rows, BitPacking.bytesPerRow(count: columns, bits: bits)]),
        "scales": plane(floats: parameters.scales, scaleType, shape),
        "biases": plane(floats: parameters.minimums, scaleType, shape),
      ])
  }
}
