import Kernels

/// The upper Cholesky factor `U` of the damped Hessian's inverse, `H⁻¹ = Uᵀ U`, which holds all that GPTQ needs of it.
///
/// With `J` the reversal of rows, `J H J = L Lᵀ` gives `U = J L⁻¹ J`: one factorization and one triangular inverse
/// in float64 through LAPACK, on one thread, so that the bits do not depend on the number of threads.
package struct InverseFactor {
  /// `size * size`, row-major, zeros below the diagonal; nil when no damping made the matrix positive definite.
  package let upper: [Float]?
  /// Damping that was tried last, as a share of the diagonal's mean.
  package let damping: Double
  /// Factorizations that failed.
  package let retryCount: Int

  /// Factorizes `hessian` with rows and columns in `order`, trying `damping` and then three times ten times more.
  package static func factorize(_ hessian: Hessian, order: [Int], damping: Double) -> InverseFactor {
    let diagonal = hessian.diagonal
    let alive = diagonal.filter { $0 > 0 }
    let mean = alive.reduce(0.0) { $0 + Double($1) } / Double(max(alive.count, 1))
    var share = damping
    for retry in 0...3 {
      if let upper = attempt(hessian, order: order, added: share * mean, mean: mean) {
        return InverseFactor(upper: upper, damping: share, retryCount: retry)
      }
      if retry < 3 { share = max(share, 0.001) * 10 }
    }
    return InverseFactor(upper: nil, damping: share, retryCount: 4)
  }

  private static func attempt(_ hessian: Hessian, order: [Int], added: Double, mean: Double) -> [Float]? {
    let size = hessian.size
    var matrix = [Double](repeating: 0, count: size * size)
    for row in 0..<size {
      let source = order[size - 1 - row] * size
      for column in 0...row {
        matrix[column * size + row] = Double(hessian.values[source + order[size - 1 - column]])
      }
      // A dead input couples to nothing: any positive diagonal decouples it.
      let diagonal = matrix[row * size + row]
      matrix[row * size + row] = (diagonal > 0 ? diagonal : mean) + added
    }
    guard BLAS.invertCholeskyFactor(&matrix, size: size) else { return nil }
    var upper = [Float](repeating: 0, count: size * size)
    for row in 0..<size {
      for column in row..<size {
        // matrix is column-major: element (r, c) of L⁻¹ lies at c * size + r.
        let value = Float(matrix[(size - 1 - column) * size + (size - 1 - row)])
        guard value.isFinite else { return nil }
        upper[row * size + column] = value
      }
      guard upper[row * size + row] > 0 else { return nil }
    }
    return upper
  }
}
