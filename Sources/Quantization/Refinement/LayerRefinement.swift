import Codecs
import Kernels
import TensorCore

/// Improves the codes and scales of a quantized layer under the second moment of its inputs, whatever method made them.
///
/// Rounds of sweeps of ``CoordinateDescent`` over the codes, each followed by a ``ScaleFit``; no row ends worse than it began.
struct LayerRefinement {
  /// Sweeps over all columns before each fit of the scales.
  let sweeps: Int
  /// Times that sweeps are followed by a fit of the scales.
  let rounds: Int
  let pool: ThreadPool

  /// What became of a matrix.
  struct Outcome {
    let matrix: EncodedMatrix
    /// `tr(E H Eᵀ)` before and after.
    let errorBefore: Double
    let errorAfter: Double
  }

  /// Refines a matrix; nil when its codec has no grids that it can work on, or nothing is to be done.
  /// - Throws: `CodecError`.
  func refine(
    _ matrix: EncodedMatrix, toward weights: FloatMatrix, hessian: Hessian
  ) throws(CodecError) -> Outcome? {
    guard sweeps > 0, rounds > 0, let start = GridMatrix(matrix) else { return nil }
    let parts = RowChunks.map(rows: start.rows, pool: pool) { rows in
      var part = RowRefinement(grids: start, rows: rows, weights: weights, hessian: hessian)
      return part.run(sweeps: sweeps, rounds: rounds)
    }
    var result = start
    result.codes = parts.flatMap(\.codes)
    result.scales = parts.flatMap(\.scales)
    return Outcome(
      matrix: try result.assembled(), errorBefore: parts.reduce(0) { $0 + $1.errorBefore },
      errorAfter: parts.reduce(0) { $0 + $1.errorAfter })
  }
}
