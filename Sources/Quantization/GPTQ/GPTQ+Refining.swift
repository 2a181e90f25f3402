import Codecs
import Kernels
import TensorCore

extension GPTQ {
  /// The problem with the weights that best undo, for the inputs as they are now, what quantized layers before did to them.
  ///
  /// With `C = mean((x' - x) xᵀ)` the minimizer of `mean |W x' - V x|²` is `V = W + W C H⁻¹`; `asymmetry` is the share of the way
  /// that is gone. The whole way overfits: on a trained model of 63M parameters half of it was best at 2, 3 and 4 bits.
  ///
  /// Source: Li et al. 2025, "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration" (arXiv 2504.02692), whose
  /// residual term this is, in the form of a target.
  func corrected(
    _ problem: LayerProblem, _ hessian: Hessian, _ pool: ThreadPool
  ) throws(QuantizationError) -> LayerProblem {
    guard asymmetry > 0, let drift = problem.drift, let step = drift.step else { return problem }
    let columns = problem.weights.columns
    guard drift.columns == columns else {
      throw .shapeMismatch(
        layer: problem.name, expected: "a drift of \(columns) inputs", found: "\(drift.columns)")
    }
    var weights = problem.weights
    unsafe weights.values.withUnsafeMutableBufferPointer { values in
      guard let target = values.baseAddress else { return }
      let shared = unsafe SharedRows(pointer: target)
      pool.run(taskCount: RowChunks.ranges(rows: problem.weights.rows).count) { number in
        let rows = RowChunks.ranges(rows: problem.weights.rows)[number]
        unsafe problem.weights.values.withUnsafeBufferPointer { source in
          guard let source = source.baseAddress else { return }
          unsafe BLAS.multiply(
            source + rows.lowerBound * columns, lda: columns, step, ldb: columns, m: rows.count,
            n: columns,
            k: columns, alpha: Float(asymmetry), beta: 1, into: shared.pointer + rows.lowerBound * columns,
            ldc: columns)
        }
      }
    }
    return LayerProblem(name: problem.name, weights: weights, hessian: hessian)
  }

  /// Why ``corrected(_:_:_:)`` leaves a problem as it is although it was asked to change it; nil when it does what it was asked.
  func reasonUncorrected(_ problem: LayerProblem) -> String? {
    guard asymmetry > 0 else { return nil }
    guard let drift = problem.drift else {
      return "its inputs were not compared with those of the unquantized model"
    }
    return drift.step == nil ? "the second moment of the compared inputs has no Cholesky factor" : nil
  }

  /// The solution after coordinate descent on its codes and scales, for codecs whose values are evenly spaced in groups.
  func refined(
    _ solution: LayerSolution, _ problem: LayerProblem, _ hessian: Hessian, _ pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    guard refinementSweeps > 0, solution.report.fallback == nil else { return solution }
    let refinement = LayerRefinement(sweeps: refinementSweeps, rounds: 2, pool: pool)
    do {
      guard
        let outcome = try refinement.refine(solution.matrix, toward: problem.weights, hessian: hessian)
      else { return solution }
      var report = solution.report
      report.unrefinedRelativeError = report.relativeError
      report.relativeError *= outcome.errorBefore > 0 ? outcome.errorAfter / outcome.errorBefore : 1
      return LayerSolution(matrix: outcome.matrix, report: report)
    } catch {
      throw .codec(layer: problem.name, .init(diagnostic: error.diagnostic))
    }
  }
}

/// Rows that tasks of a pool share; each touches its own.
@unsafe
private struct SharedRows: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Float>
}
