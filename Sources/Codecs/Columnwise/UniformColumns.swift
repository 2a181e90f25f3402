import OrderedCollections
import TensorCore

extension ColumnwiseCodec where Self: UniformGroupCodec {
  /// One grid a group.
  public func columnLayout(columns: Int) -> ColumnLayout? {
    uniformGrid(columns: columns).map { ColumnLayout(fitLength: $0.groupLength, gridLength: $0.groupLength) }
  }

  /// Whole steps.
  public var levels: CodeLevels { .steps }

  /// The grids; see ``ColumnwiseCodec``.
  public func grids(of matrix: EncodedMatrix) -> [Grid] {
    guard let grid = uniformGrid(columns: matrix.columns) else { return [] }
    let parameters = uniformParameters(of: matrix)
    return parameters.scales.indices.map { index in
      switch grid.origin {
      case .fixed(let zero):
        Grid(scale: parameters.scales[index], zero: Float(zero), maximumCode: Float(grid.maximumCode))
      case .zeroPoint:
        Grid(
          scale: parameters.scales[index], zero: Float(parameters.zeros[index]),
          maximumCode: Float(grid.maximumCode))
      case .minimum:
        Grid(
          scale: parameters.scales[index], zero: 0, maximumCode: Float(grid.maximumCode),
          offset: parameters.minimums[index])
      }
    }
  }

  /// The codes; see ``ColumnwiseCodec``.
  public func codes(of matrix: EncodedMatrix) -> [UInt8] { uniformCodes(of: matrix, rows: 0..<matrix.rows) }

  /// Joins parameters and packs codes; see ``ColumnwiseCodec``.
  public func assemble(
    _ fits: [EncodedMatrix], rows: Int, columns: Int, codes: [UInt8]
  ) throws(CodecError) -> EncodedMatrix {
    try assemble(rows: rows, columns: columns, uniformCodes: codes, parameters: joinedParameters(fits))
  }

  func joinedParameters(_ fits: [EncodedMatrix]) -> UniformParameters {
    let parts = fits.map { uniformParameters(of: $0) }
    guard parts.count != 1 else { return parts[0] }
    let rows = fits.first?.rows ?? 0
    return UniformParameters(
      scales: sideBySide(parts.map(\.scales), rows: rows), zeros: sideBySide(parts.map(\.zeros), rows: rows),
      minimums: sideBySide(parts.map(\.minimums), rows: rows))
  }
}

/// Row-major matrices of the same rows, one beside the other.
func sideBySide<Element>(_ parts: [[Element]], rows: Int) -> [Element] {
  guard rows > 0 else { return [] }
  var result: [Element] = []
  result.reserveCapacity(parts.reduce(0) { $0 + $1.count })
  for row in 0..<rows {
    for part in parts {
      let width = part.count / rows
      result += part[row * width..<(row + 1) * width]
    }
  }
  return result
}

extension EncodedMatrix {
  /// Bytes of a plane.
  func bytes(_ plane: String) -> [UInt8] {
    planes[plane].map { tensor in unsafe tensor.withBytes { unsafe Array($0) } } ?? []
  }
}

extension IntegerGroupCodec: ColumnwiseCodec {}
extension AffineCodec: ColumnwiseCodec {}
