import Kernels
import TensorCore

/// The scales that are best for the codes of some rows, under the second moment of the inputs.
///
/// With `q` the levels of a row, cut into groups, the scales solve `A s = b` with `A[g, h] = q_g H[g, h] q_hᵀ` and
/// `b[g] = q_g H (w - offset)ᵀ`. A small share of the diagonal holds them at what they are.
struct ScaleFit {
  let hessian: Hessian
  /// Columns of a group; the last of a row may be shorter.
  let groupLength: Int
  /// The weights, `[column][row]`.
  let target: [Float]
  let rowCount: Int

  /// Share of the mean diagonal that holds a scale back, for groups whose inputs hardly vary.
  private static let ridge = 1e-4

  private var columns: Int { hessian.size }
  private var groups: Int { Checked.ceilingQuotient(columns, groupLength) }

  /// The scales, `[group][row]`; nil for rows whose system has no solution.
  /// - Parameters:
  ///   - codes: `[column][row]`.
  func scales(codes: [UInt8], grids: GridRows) -> [Float?] {
    var systems = [Double](repeating: 0, count: rowCount * groups * groups)
    var sides = [Double](repeating: 0, count: rowCount * groups)
    let levels = levels(codes, grids)
    var product = [Float](repeating: 0, count: target.count)
    for group in 0..<groups {
      multiply(levels, group, into: &product)
      for column in 0..<columns {
        let (other, place) = (column / groupLength, column * rowCount)
        for row in 0..<rowCount {
          systems[(row * groups + group) * groups + other] +=
            Double(product[place + row]) * Double(levels[place + row])
          let fixed = target[place + row] - grids.offsets[other * rowCount + row]
          sides[row * groups + group] += Double(product[place + row]) * Double(fixed)
        }
      }
    }
    var result = [Float?](repeating: nil, count: rowCount * groups)
    for row in 0..<rowCount { solve(row, &systems, &sides, grids, &result) }
    return result
  }

  private func levels(_ codes: [UInt8], _ grids: GridRows) -> [Float] {
    var levels = codes.map(Float.init)
    for column in 0..<columns {
      let group = column / groupLength * rowCount
      for row in 0..<rowCount { levels[column * rowCount + row] -= grids.zeros[group + row] }
    }
    return levels
  }

  /// `H` times the levels of one group, all others taken as zero.
  private func multiply(_ levels: [Float], _ group: Int, into product: inout [Float]) {
    let range = group * groupLength..<min((group + 1) * groupLength, columns)
    unsafe hessian.values.withUnsafeBufferPointer { matrix in
      unsafe levels.withUnsafeBufferPointer { levels in
        guard let matrix = matrix.baseAddress, let levels = levels.baseAddress else { return }
        // Symmetric: columns of a group are its rows.
        unsafe BLAS.multiply(
          matrix + range.lowerBound * columns, lda: columns, transposingA: true,
          levels + range.lowerBound * rowCount, ldb: rowCount, m: columns, n: rowCount, k: range.count,
          into: &product, ldc: rowCount)
      }
    }
  }

  private func solve(
    _ row: Int, _ systems: inout [Double], _ sides: inout [Double], _ grids: GridRows,
    _ result: inout [Float?]
  ) {
    let start = row * groups * groups
    let mean =
      (0..<groups).reduce(0.0) { $0 + systems[start + $1 * groups + $1] } / Double(groups) * Self.ridge
    guard mean > 0 else { return }
    for group in 0..<groups {
      systems[start + group * groups + group] += mean
      sides[row * groups + group] += mean * Double(grids.scales[group * rowCount + row])
    }
    guard
      let solution = PositiveSystem.solve(
        Array(systems[start..<start + groups * groups]), Array(sides[row * groups..<(row + 1) * groups]))
    else { return }
    for group in 0..<groups { result[group * rowCount + row] = Float(solution[group]) }
  }
}
