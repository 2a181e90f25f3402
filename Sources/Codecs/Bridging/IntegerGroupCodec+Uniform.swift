import OrderedCollections
import TensorCore

extension IntegerGroupCodec: UniformGroupCodec {
  /// The grid; nil for act-order.
  public func uniformGrid(columns: Int) -> UniformGrid? {
    guard !hasGroupIndex else { return nil }
    return UniformGrid(
      groupLength: groupLength(columns: columns), maximumCode: maximumCode,
      origin: isSymmetric ? .fixed(middleCode) : .zeroPoint, scaleType: scaleType)
  }

  /// Scales and zero points as stored.
  public func uniformParameters(of matrix: EncodedMatrix) -> UniformParameters {
    let zeros = matrix.planes["zeros"].map { plane in unsafe plane.withBytes { unsafe Array($0) } }
    return UniformParameters(scales: (try? matrix.planes["scales"]?.floats()) ?? [], zeros: zeros ?? [])
  }

  /// The codes as stored.
  public func uniformCodes(of matrix: EncodedMatrix, rows: Range<Int>) -> [UInt8] {
    unpacked(matrix, rows: rows).codes
  }

  /// Packs codes and parameters; scales may have either sign.
  public func assemble(
    rows: Int, columns: Int, uniformCodes codes: [UInt8], parameters: UniformParameters
  ) throws(CodecError) -> EncodedMatrix {
    let groups = groupCount(columns: columns)
    let packed = BitPacking.packed(codes, rows: rows, columns: columns, bits: bits)
    var planes: OrderedDictionary<String, Tensor> = [:]
    do throws(TensorCoreError) {
      let shape = try Shape([rows, groups])
      planes["codes"] = try Tensor(
        bytes: packed, elementType: .u8,
        shape: Shape([rows, BitPacking.bytesPerRow(count: columns, bits: bits)]))
      planes["scales"] = try scalePlane(parameters.scales, shape: shape)
      if !isSymmetric {
        planes["zeros"] = try Tensor(bytes: parameters.zeros, elementType: .u8, shape: shape)
      }
    } catch { throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message) }
    return try EncodedMatrix(codec: self, rows: rows, columns: columns, planes: planes)
  }
}
