import Codecs
import Kernels
import TensorCore

/// Improves the codes and scales of a quantized layer under the second moment of its inputs, whatever method made them.
///
/// A sweep visits every column in order and gives each code the value that is best with all other codes as they are
/// (cyclic coordinate descent on `tr((W - Q) H (W - Q)ᵀ)`: Behdin et al. 2023, "QuantEase", arXiv 2309.01885, algorithm 1). Between
/// rounds of sweeps the scales of each row become the minimizer for the codes as they are: a linear system with one unknown a
/// group. A row keeps what it had when the result is no better.
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
    /// Codes that differ.
    let changedCodes: Int
    /// Scales that differ.
    let changedScales: Int
  }

  /// Refines a matrix; nil when its codec has no grids that it can work on, or nothing is to be done.
  /// - Throws: `CodecError`.
  func refine(
    _ matrix: EncodedMatrix, toward weights: FloatMatrix, hessian: Hessian
  ) throws(CodecError) -> Outcome? {
    guard sweeps > 0, rounds > 0, let start = GridMatrix(matrix) else { return nil }
    let parts = RowChunks.map(rows: start.rows, pool: pool) { rows in
      var descent = RowDescent(grids: start, rows: rows, weights: weights, hessian: hessian)
      return descent.run(sweeps: sweeps, rounds: rounds)
    }
    var result = start
    result.codes = parts.flatMap(\.codes)
    result.scales = parts.flatMap(\.scales)
    return Outcome(
      matrix: try result.assembled(), errorBefore: parts.reduce(0) { $0 + $1.errorBefore },
      errorAfter: parts.reduce(0) { $0 + $1.errorAfter },
      changedCodes: zip(result.codes, start.codes).count { $0 != $1 },
      changedScales: zip(result.scales, start.scales).count { $0 != $1 })
  }
}
