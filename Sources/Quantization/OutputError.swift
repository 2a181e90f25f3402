import Kernels
import TensorCore

/// Measures what a quantized weight does to a layer's output: `tr(E H Eᵀ)` with `E = W - Q`.
struct OutputError {
  let problem: LayerProblem
  let pool: ThreadPool

  /// `tr(E H Eᵀ) / tr(W H Wᵀ)`; 0 when the layer's output is zero.
  func relative(of quantized: FloatMatrix) -> Double {
    let error = zip(problem.weights.values, quantized.values).map { $0 - $1 }
    let reference = rowEnergies(problem.weights.values).reduce(0, +)
    return reference > 0 ? rowEnergies(error).reduce(0, +) / reference : 0
  }

  /// `e H eᵀ` of every row of a `[rows, columns]` matrix.
  func rowEnergies(_ values: [Float]) -> [Double] {
    let columns = problem.weights.columns
    return RowChunks.map(rows: problem.weights.rows, pool: pool) { rows in
      let chunk = Array(values[rows.lowerBound * columns..<rows.upperBound * columns])
      return QuadraticForm(hessian: problem.hessian, importance: problem.importance).energies(
        chunk, columns: columns)
    }.flatMap { $0 }
  }
}

/// The quadratic form of a layer's inputs: the Hessian, its diagonal, or the identity, whichever is known.
struct QuadraticForm {
  let hessian: Hessian?
  let importance: [Float]?

  /// `e H eᵀ` of each row.
  func energies(_ rows: [Float], columns: Int) -> [Double] {
    let count = rows.count / max(columns, 1)
    guard let hessian else {
      return (0..<count).map { row in
        (0..<columns).reduce(0.0) { sum, column in
          let value = Double(rows[row * columns + column])
          return sum + value * value * Double(importance?[column] ?? 1)
        }
      }
    }
    var product = [Float](repeating: 0, count: rows.count)
    unsafe BLAS.multiply(
      rows, lda: columns, hessian.values, ldb: columns, m: count, n: columns, k: columns, into: &product,
      ldc: columns)
    return (0..<count).map { row in
      (row * columns..<(row + 1) * columns).reduce(0.0) { $0 + Double(product[$1]) * Double(rows[$1]) }
    }
  }
}
