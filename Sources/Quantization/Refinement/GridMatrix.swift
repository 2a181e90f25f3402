import Codecs
import OrderedCollections
import TensorCore

/// A quantized matrix taken apart: what its codes are and what they stand for.
///
/// A code `c` of a group with scale `s` has the value `s * level(c) + offset`, where `level` counts steps from the group's zero.
struct GridMatrix {
  let codec: any UniformGroupCodec
  let rows: Int
  let columns: Int
  /// Columns of a group; the last of a row may be shorter.
  let groupLength: Int
  /// Largest code.
  let maximumCode: Float
  /// `[rows, columns]`.
  var codes: [UInt8]
  /// `[rows, groups]`.
  var scales: [Float]
  /// Codes of level 0, `[rows, groups]`.
  let zeros: [Float]
  /// Values of level 0, `[rows, groups]`.
  let offsets: [Float]
  private let parameters: UniformParameters
  private let scaleType: ElementType

  /// Groups of a row.
  var groupCount: Int { Checked.ceilingQuotient(columns, groupLength) }

  /// Takes a matrix apart; nil when its codec's values are not evenly spaced in groups of columns.
  init?(_ matrix: EncodedMatrix) {
    guard let codec = matrix.codec as? any UniformGroupCodec,
      let grid = codec.uniformGrid(columns: matrix.columns), matrix.planes["group_index"] == nil
    else { return nil }
    self.codec = codec
    rows = matrix.rows
    columns = matrix.columns
    groupLength = grid.groupLength
    maximumCode = Float(grid.maximumCode)
    scaleType = grid.scaleType
    parameters = codec.uniformParameters(of: matrix)
    codes = codec.uniformCodes(of: matrix, rows: 0..<matrix.rows)
    scales = parameters.scales
    switch grid.origin {
    case .fixed(let zero): zeros = [Float](repeating: Float(zero), count: scales.count)
    case .zeroPoint: zeros = parameters.zeros.map(Float.init)
    case .minimum: zeros = [Float](repeating: 0, count: scales.count)
    }
    offsets =
      parameters.minimums.isEmpty ? [Float](repeating: 0, count: scales.count) : parameters.minimums
  }

  /// Puts the matrix together again.
  /// - Throws: `CodecError`.
  func assembled() throws(CodecError) -> EncodedMatrix {
    var parameters = parameters
    parameters.scales = scales
    return try codec.assemble(rows: rows, columns: columns, uniformCodes: codes, parameters: parameters)
  }

  /// The scale nearest to `scale` that can be stored; nil when that has another sign, is zero or is not finite.
  func storable(_ scale: Float) -> Float? {
    let stored: Float =
      switch scaleType {
      case .f16: Float(Float16(scale))
      case .bf16: SmallFloat.float(bfloat16: SmallFloat.bfloat16(scale))
      default: scale
      }
    return stored.isFinite && stored != 0 && (stored < 0) == (scale < 0) ? stored : nil
  }

  /// The grids of some rows, `[row][group]`.
  func grids(rows: Range<Int>) -> [Grid] {
    (rows.lowerBound * groupCount..<rows.upperBound * groupCount).map { place in
      Grid(scale: scales[place], zero: zeros[place], maximumCode: maximumCode, offset: offsets[place])
    }
  }
}
