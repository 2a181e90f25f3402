import Codecs
import Kernels
import TensorCore

/// Coordinate descent on some rows of a layer; rows do not depend on each other.
///
/// Working values are kept transposed, `[column][row]`, so that the work on one column is contiguous.
struct RowDescent {
  private let grids: GridMatrix
  private let rows: Range<Int>
  private let hessian: Hessian
  private let count: Int
  private let columns: Int
  private let groups: Int
  /// The weights, `[column][row]`.
  private let target: [Float]
  /// Codes as numbers, `[column][row]`.
  private var codes: [Float]
  /// `[group][row]`.
  private var scales: [Float]
  private let zeros: [Float]
  private let offsets: [Float]
  /// `target` less what the codes stand for, `[column][row]`.
  private var residual: [Float]
  /// `H` times the residual, `[column][row]`.
  private var gradient: [Float]

  /// Columns whose gradients are kept up to date one by one; those behind follow in one product.
  private static let blockLength = 64
  /// Share of the mean diagonal that holds a scale back, for groups whose inputs hardly vary.
  private static let ridge = 1e-4

  struct Part: Sendable {
    var codes: [UInt8]
    var scales: [Float]
    var errorBefore: Double
    var errorAfter: Double
  }

  init(grids: GridMatrix, rows: Range<Int>, weights: FloatMatrix, hessian: Hessian) {
    self.grids = grids
    self.rows = rows
    self.hessian = hessian
    let (count, columns, groups) = (rows.count, grids.columns, grids.groupCount)
    self.count = count
    self.columns = columns
    self.groups = groups
    func transposed(_ width: Int, _ value: (Int) -> Float) -> [Float] {
      var result = [Float](repeating: 0, count: width * count)
      for (index, row) in rows.enumerated() {
        for column in 0..<width { result[column * count + index] = value(row * width + column) }
      }
      return result
    }
    target = transposed(columns) { weights.values[$0] }
    codes = transposed(columns) { Float(grids.codes[$0]) }
    scales = transposed(groups) { grids.scales[$0] }
    zeros = transposed(groups) { grids.zeros[$0] }
    offsets = transposed(groups) { grids.offsets[$0] }
    residual = target
    gradient = [Float](repeating: 0, count: target.count)
  }

  /// Sweeps and fits; every row ends with the best that it had.
  mutating func run(sweeps: Int, rounds: Int) -> Part {
    refresh()
    let before = energies
    var best = (codes: codes, scales: scales, energies: before)
    for _ in 0..<rounds {
      for _ in 0..<sweeps {
        sweep()
        refresh()
      }
      keep(&best)
      fitScales()
      refresh()
      keep(&best)
      (codes, scales) = (best.codes, best.scales)
      refresh()
    }
    var part = Part(
      codes: [UInt8](repeating: 0, count: codes.count), scales: [Float](repeating: 0, count: scales.count),
      errorBefore: before.reduce(0, +), errorAfter: best.energies.reduce(0, +))
    for row in 0..<count {
      for column in 0..<columns {
        part.codes[row * columns + column] = UInt8(best.codes[column * count + row])
      }
      for group in 0..<groups { part.scales[row * groups + group] = best.scales[group * count + row] }
    }
    return part
  }

  /// `e H eᵀ` of each row.
  private var energies: [Double] {
    var sums = [Double](repeating: 0, count: count)
    for column in 0..<columns {
      for row in 0..<count {
        sums[row] += Double(gradient[column * count + row]) * Double(residual[column * count + row])
      }
    }
    return sums
  }

  /// Takes over the rows that are better than the best so far.
  private func keep(_ best: inout (codes: [Float], scales: [Float], energies: [Double])) {
    let energies = energies
    for row in 0..<count where energies[row] < best.energies[row] {
      best.energies[row] = energies[row]
      for column in 0..<columns { best.codes[column * count + row] = codes[column * count + row] }
      for group in 0..<groups { best.scales[group * count + row] = scales[group * count + row] }
    }
  }

  /// Computes residual and gradient anew.
  private mutating func refresh() {
    for column in 0..<columns {
      let group = column / grids.groupLength * count
      let place = column * count
      for row in 0..<count {
        residual[place + row] =
          target[place + row]
          - (scales[group + row] * (codes[place + row] - zeros[group + row])
            + offsets[group + row])
      }
    }
    unsafe BLAS.multiply(
      hessian.values, lda: columns, residual, ldb: count, m: columns, n: count, k: columns, into: &gradient,
      ldc: count)
  }

  private mutating func sweep() {
    for start in stride(from: 0, to: columns, by: Self.blockLength) {
      sweep(block: start..<min(start + Self.blockLength, columns))
    }
  }

  /// Moves the codes of a block's columns one after another, then tells all columns behind it what changed.
  private mutating func sweep(block: Range<Int>) {
    let (columns, count) = (columns, count)
    var changes = [Float](repeating: 0, count: block.count * count)
    for column in block {
      let curvature = hessian.values[column * columns + column]
      guard curvature > 0 else { continue }
      let change = (column - block.lowerBound) * count
      move(column, curvature: curvature, changes: &changes, at: change)
      for later in column + 1..<max(block.upperBound, column + 1) {
        let factor = hessian.values[column * columns + later]
        unsafe gradient.withUnsafeMutableBufferPointer { gradient in
          unsafe changes.withUnsafeBufferPointer { changes in
            for row in 0..<count {
              unsafe gradient[later &* count &+ row] += factor * changes[change &+ row]
            }
          }
        }
      }
    }
    let remaining = columns - block.upperBound
    guard remaining > 0 else { return }
    unsafe hessian.values.withUnsafeBufferPointer { matrix in
      unsafe gradient.withUnsafeMutableBufferPointer { gradient in
        guard let matrix = matrix.baseAddress, let gradient = gradient.baseAddress else { return }
        unsafe BLAS.multiply(
          matrix + block.lowerBound * columns + block.upperBound, lda: columns, transposingA: true, changes,
          ldb: count, m: remaining, n: count, k: block.count, beta: 1,
          into: gradient + block.upperBound * count, ldc: count)
      }
    }
  }

  /// Gives a column's codes their best values; writes how the residuals changed.
  private mutating func move(_ column: Int, curvature: Float, changes: inout [Float], at change: Int) {
    let group = column / grids.groupLength * count
    let place = column * count
    let inverse = 1 / curvature
    let (highest, magic) = (grids.maximumCode, Float(12_582_912))
    for row in 0..<count {
      let scale = scales[group + row]
      guard scale != 0 else { continue }
      let wanted = codes[place + row] + gradient[place + row] * inverse / scale
      // Clamped before it is rounded, so that the sum with the large number cannot lose bits; NaN becomes the lowest.
      let code = (min(highest, max(0, wanted)) + magic) - magic
      let difference = (codes[place + row] - code) * scale
      codes[place + row] = code
      residual[place + row] += difference
      changes[change + row] = difference
    }
  }
}

extension RowDescent {
  /// Gives each row the scales that are best for its codes, as far as they can be stored.
  ///
  /// With `q` the levels of a row, cut into groups, the scales solve `A s = b` with `A[g, h] = q_g H[g, h] q_hᵀ` and
  /// `b[g] = q_g H (w - offset)ᵀ`. A small share of the diagonal holds them at what they are.
  private mutating func fitScales() {
    var systems = [Double](repeating: 0, count: count * groups * groups)
    var sides = [Double](repeating: 0, count: count * groups)
    let length = grids.groupLength
    let levels = levels
    var product = [Float](repeating: 0, count: target.count)
    for group in 0..<groups {
      let range = group * length..<min((group + 1) * length, columns)
      unsafe hessian.values.withUnsafeBufferPointer { matrix in
        unsafe levels.withUnsafeBufferPointer { levels in
          guard let matrix = matrix.baseAddress, let levels = levels.baseAddress else { return }
          // Symmetric: columns of a group are its rows.
          unsafe BLAS.multiply(
            matrix + range.lowerBound * columns, lda: columns, transposingA: true,
            levels + range.lowerBound * count, ldb: count, m: columns, n: count, k: range.count,
            into: &product, ldc: count)
        }
      }
      for column in 0..<columns {
        let (other, place) = (column / length, column * count)
        for row in 0..<count {
          systems[(row * groups + group) * groups + other] +=
            Double(product[place + row]) * Double(levels[place + row])
          let fixed = target[place + row] - offsets[other * count + row]
          sides[row * groups + group] += Double(product[place + row]) * Double(fixed)
        }
      }
    }
    for row in 0..<count { solve(row, &systems, &sides) }
  }

  private var levels: [Float] {
    var levels = codes
    for column in 0..<columns {
      let group = column / grids.groupLength * count
      for row in 0..<count { levels[column * count + row] -= zeros[group + row] }
    }
    return levels
  }

  private mutating func solve(_ row: Int, _ systems: inout [Double], _ sides: inout [Double]) {
    let start = row * groups * groups
    let mean =
      (0..<groups).reduce(0.0) { $0 + systems[start + $1 * groups + $1] } / Double(groups) * Self.ridge
    guard mean > 0 else { return }
    for group in 0..<groups {
      systems[start + group * groups + group] += mean
      sides[row * groups + group] += mean * Double(scales[group * count + row])
    }
    guard
      let solution = PositiveSystem.solve(
        Array(systems[start..<start + groups * groups]), Array(sides[row * groups..<(row + 1) * groups]))
    else { return }
    for group in 0..<groups {
      let old = scales[group * count + row]
      guard let scale = grids.storable(Float(solution[group])), (scale < 0) == (old < 0) else { continue }
      scales[group * count + row] = scale
    }
  }
}

/// A small symmetric positive definite system in float64.
enum PositiveSystem {
  /// Solves `matrix * x = side`, row-major; nil when the matrix is not positive definite.
  static func solve(_ matrix: [Double], _ side: [Double]) -> [Double]? {
    let size = side.count
    var factor = matrix
    var result = side
    for column in 0..<size {
      var diagonal = factor[column * size + column]
      for index in 0..<column { diagonal -= factor[column * size + index] * factor[column * size + index] }
      guard diagonal > 0 else { return nil }
      diagonal = diagonal.squareRoot()
      factor[column * size + column] = diagonal
      for row in column + 1..<max(size, column + 1) {
        var sum = factor[row * size + column]
        for index in 0..<column { sum -= factor[row * size + index] * factor[column * size + index] }
        factor[row * size + column] = sum / diagonal
      }
    }
    for row in 0..<size {
      for index in 0..<row { result[row] -= factor[row * size + index] * result[index] }
      result[row] /= factor[row * size + row]
    }
    for row in (0..<size).reversed() {
      for index in row + 1..<max(size, row + 1) { result[row] -= factor[index * size + row] * result[index] }
      result[row] /= factor[row * size + row]
    }
    return result
  }
}
