import Codecs
import TensorCore

/// Some rows of a weight as a codec holds them: parameters as fits that lie side by side, and a code for each value.
struct FittedRows: Sendable {
  /// Side by side, in natural order.
  var fits: [EncodedMatrix]
  /// `[row][column]`.
  var codes: [UInt8]

  /// Puts the rows together.
  /// - Throws: `CodecError`.
  func assembled(by codec: any ColumnwiseCodec, rows: Int, columns: Int) throws(CodecError) -> EncodedMatrix {
    try codec.assemble(fits, rows: rows, columns: columns, codes: codes)
  }
}

extension FloatMatrix {
  /// Some rows.
  func selecting(rows range: Range<Int>) -> FloatMatrix {
    var part = FloatMatrix(zeros: range.count, columns)
    part.values = Array(values[range.lowerBound * columns..<range.upperBound * columns])
    return part
  }
}

extension LayerProblem {
  /// The weights with zeros for the inputs that no calibration token excited: what they are does not matter.
  var liveWeights: FloatMatrix {
    guard let importance, importance.contains(where: { $0 <= 0 }) else { return weights }
    var result = weights
    for column in importance.indices where importance[column] <= 0 {
      for row in 0..<result.rows { result[row, column] = 0 }
    }
    return result
  }
}
