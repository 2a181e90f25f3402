import OrderedCollections
import TensorCore

extension Float8Codec {
  /// Rounds a matrix; see ``Codec``.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try checkInput(matrix, importance: importance)
    let size = blockSize(rows: matrix.rows, columns: matrix.columns)
    let dimensions = scaleShape(rows: matrix.rows, columns: matrix.columns)
    let perRow = Checked.ceilingQuotient(matrix.columns, size.columns)
    let count = dimensions.reduce(1, *)
    var codes = [UInt8](repeating: 0, count: matrix.values.count)
    var scales = [Float](repeating: 1, count: count)
    for block in 0..<(matrix.values.isEmpty ? 0 : count) {
      let (top, left) = (block / perRow * size.rows, block % perRow * size.columns)
      let rows = top..<min(top + size.rows, matrix.rows)
      let columns = left..<min(left + size.columns, matrix.columns)
      let scale = scale(of: matrix, rows, columns, importance, search)
      guard scale.isFinite, scale > 0 else {
        throw .scaleOverflow(row: top, group: block % perRow, scale: scale, type: scaleType)
      }
      scales[block] = scale
      for row in rows {
        for index in row * matrix.columns + columns.lowerBound..<row * matrix.columns + columns.upperBound {
          codes[index] = code(matrix.values[index], scale)
        }
      }
    }
    return try EncodedMatrix(
      codec: self, rows: matrix.rows, columns: matrix.columns,
      planes: [
        "codes": plane(codes, .u8, [matrix.rows, matrix.columns]),
        "scales": plane(floats: scales, scaleType, dimensions),
      ])
  }

  /// Divides, as the field's quantizers do; a product with the inverse would round some ties the other way.
  @inline(__always)
  private func code(_ value: Float, _ scale: Float) -> UInt8 {
    format == .e4m3 ? SmallFloat.e4m3(value / scale) : SmallFloat.e5m2(value / scale)
  }

  private func scale(
    of matrix: FloatMatrix, _ rows: Range<Int>, _ columns: Range<Int>, _ importance: [Float]?,
    _ search: ScaleSearch
  ) -> Float {
    var extreme: Float = 0
    for row in rows {
      for column in columns { extreme = max(extreme, abs(matrix.values[row * matrix.columns + column])) }
    }
    let start = storable(extreme / largest)
    guard case .leastSquares = search, extreme > 0, start.isFinite else { return start }
    var best = (scale: start, error: Float.infinity)
    for step: Float in [1, 1.0905077, 1.1892071, 1.2968396, 1.4142135, 1.5422108, 1.6817929, 1.8340081] {
      let candidate = storable(start * step)
      guard candidate.isFinite else { break }
      let error = error(of: matrix, rows, columns, importance, scale: candidate)
      if error < best.error { best = (candidate, error) }
    }
    return best.scale
  }

  private func error(
    of matrix: FloatMatrix, _ rows: Range<Int>, _ columns: Range<Int>, _ importance: [Float]?, scale: Float
  ) -> Float {
    let values = values
    var sum: Float = 0
    for row in rows {
      var rowSum: Float = 0
      for column in columns {
        let value = matrix.values[row * matrix.columns + column]
        let difference = value - values[Int(code(value, scale))] * scale
        rowSum += difference * difference * (importance?[column] ?? 1)
      }
      sum += rowSum
    }
    return sum
  }

  /// The positive scale nearest to `scale` that its type can hold; 1 for 0, so that rows of zeros divide by something.
  private func storable(_ scale: Float) -> Float {
    guard scale > 0 else { return 1 }
    switch scaleType {
    case .f16: return max(Float(Float16(scale)), Float(Float16.leastNonzeroMagnitude))
    default: return max(scaleType.rounded(scale), Float.leastNormalMagnitude)
    }
  }
}
