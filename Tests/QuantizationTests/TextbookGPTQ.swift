import Codecs
import Quantization
import TensorCore

/// GPTQ as the textbook has it, in Double: the explicit inverse of the damped second moment, one column at a time, and the
/// rounded column eliminated from the inverse (optimal brain quantization). No blocks, no Cholesky factor, no threads.
struct TextbookGPTQ {
  let codec: IntegerGroupCodec
  let weights: FloatMatrix
  let hessian: Hessian
  let method: GPTQ

  struct Result {
    /// `[row][column]`.
    var codes: [[Int]]
    /// Squared output error of each row.
    var errors: [Double]
    /// Decoded values.
    var values: [[Double]]
  }

  private var size: Int { weights.columns }
  private var length: Int { codec.groupLength(columns: size) }

  func run() -> Result {
    let diagonal = hessian.diagonal
    let order =
      method.sequence == .importance ? (0..<size).sorted { diagonal[$0] > diagonal[$1] } : Array(0..<size)
    var result = Result(codes: [], errors: [], values: [])
    for row in 0..<weights.rows {
      let plain = rounded(row)
      let found = compensated(row, order)
      let best =
        DenseAlgebra.energy(plain.error, hessian) < DenseAlgebra.energy(found.error, hessian) ? plain : found
      result.codes.append(best.codes)
      result.errors.append(DenseAlgebra.energy(best.error, hessian))
      result.values.append(best.values)
    }
    return result
  }

  private struct Row {
    var codes: [Int]
    var values: [Double]
    var error: [Double]
  }

  private func grid(_ values: [Double], group: Int) -> Grid {
    let range = group * length..<min((group + 1) * length, size)
    let floats = range.map { Float(values[$0]) }
    let importance = Array(hessian.diagonal[range])
    return codec.fitGrid(floats.span, importance: importance.span, search: method.scaleSearch)
  }

  private func original(_ row: Int) -> [Double] {
    (0..<size).map { isDead($0) ? 0 : Double(weights[row, $0]) }
  }

  private func isDead(_ column: Int) -> Bool { hessian.values[column * size + column] == 0 }

  private func rounded(_ row: Int) -> Row {
    let values = original(row)
    return assemble(row) { column in
      let grid = grid(values, group: column / length)
      return (grid, isDead(column) ? grid.zero : grid.code(Float(values[column])))
    }
  }

  private func assemble(_ row: Int, _ choose: (Int) -> (Grid, Float)) -> Row {
    var result = Row(codes: [], values: [], error: [])
    for column in 0..<size {
      let (grid, code) = choose(column)
      result.codes.append(Int(code))
      result.values.append(Double(grid.value(code)))
      result.error.append(Double(weights[row, column]) - Double(grid.value(code)))
    }
    return result
  }

  private func compensated(_ row: Int, _ order: [Int]) -> Row {
    var inverse = DenseAlgebra.inverse(DenseAlgebra.damped(hessian, share: method.damping))
    var values = original(row)
    for column in 0..<size where isDead(column) { values[column] = 0 }
    let isStatic = method.sequence == .importance || method.staticGroups
    var grids: [Int: Grid] = [:]
    var codes: [Int: Float] = [:]
    for (step, column) in order.enumerated() {
      let group = column / length
      if grids[group] == nil { grids[group] = grid(isStatic ? original(row) : values, group: group) }
      let code = grids[group]?.code(Float(values[column])) ?? 0
      codes[column] = code
      let error = values[column] - Double(grids[group]?.value(code) ?? 0)
      let pivot = inverse[column][column]
      for later in order[(step + 1)...] { values[later] -= error / pivot * inverse[column][later] }
      for first in order[(step + 1)...] {
        let factor = inverse[first][column] / pivot
        for second in order[(step + 1)...] { inverse[first][second] -= factor * inverse[column][second] }
      }
    }
    return assemble(row) { column in
      (grids[column / length] ?? Grid(scale: 1, zero: 0, maximumCode: 1), codes[column] ?? 0)
    }
  }
}

/// Plain dense algebra in Double.
enum DenseAlgebra {
  /// The Hessian with a share of its mean (over inputs that were seen) on the diagonal; unseen inputs get the mean.
  static func damped(_ hessian: Hessian, share: Double) -> [[Double]] {
    let size = hessian.size
    let seen = hessian.diagonal.filter { $0 > 0 }
    let mean = seen.reduce(0.0) { $0 + Double($1) } / Double(seen.count)
    return (0..<size).map { row in
      (0..<size).map { column in
        let value = Double(hessian.values[row * size + column])
        guard row == column else { return value }
        return (value > 0 ? value : mean) + share * mean
      }
    }
  }

  /// The inverse by Gauss and Jordan with partial pivoting.
  static func inverse(_ matrix: [[Double]]) -> [[Double]] {
    let size = matrix.count
    var work = matrix.enumerated().map { row, values in
      values + (0..<size).map { $0 == row ? 1.0 : 0.0 }
    }
    for column in 0..<size {
      let pivot = (column..<size).max { abs(work[$0][column]) < abs(work[$1][column]) } ?? column
      work.swapAt(column, pivot)
      let scale = work[column][column]
      for index in 0..<2 * size { work[column][index] /= scale }
      for row in 0..<size where row != column {
        let factor = work[row][column]
        if factor == 0 { continue }
        for index in column..<2 * size { work[row][index] -= factor * work[column][index] }
      }
    }
    return work.map { Array($0[size...]) }
  }

  /// `e H eᵀ`.
  static func energy(_ error: [Double], _ hessian: Hessian) -> Double {
    let size = hessian.size
    return (0..<size).reduce(0.0) { sum, row in
      let product = (0..<size).reduce(0.0) { $0 + Double(hessian.values[row * size + $1]) * error[$1] }
      return sum + product * error[row]
    }
  }

  /// `tr(E H Eᵀ)` with `E` the difference of two matrices.
  static func outputError(_ a: FloatMatrix, _ b: FloatMatrix, _ hessian: Hessian) -> Double {
    (0..<a.rows).reduce(0.0) { sum, row in
      sum + energy((0..<a.columns).map { Double(a[row, $0]) - Double(b[row, $0]) }, hessian)
    }
  }
}
