import Kernels

/// What quantized layers before a layer did to its inputs, as far as it can be undone by other weights.
///
/// With `C = mean((x' - x) xᵀ)` and `H = mean(x xᵀ)`, where `x'` are the inputs of the unquantized model, the weights that come nearest to `W x'` are
/// `W + W C H⁻¹`.
public struct InputDrift: Sendable {
  /// Inputs.
  public let columns: Int
  /// `C H⁻¹`, row-major; nil when the second moment is not positive definite even with damping.
  let step: [Float]?

  /// Share of the mean diagonal that is added to the second moment: what is undone must be seen clearly.
  private static let damping = 0.05
  /// Right sides that are solved for at once.
  private static let chunk = 64

  /// Solves for the step, once for all layers that share inputs.
  /// - Parameters:
  ///   - cross: `C`, `[in, in]` row-major, or a multiple of it.
  ///   - hessian: the same multiple of `H`, over the same tokens: with others the noise of both adds up.
  ///   - layer: a name for errors.
  /// - Throws: ``QuantizationError``.
  public init(
    cross: [Float], hessian: Hessian, layer: String, pool: ThreadPool
  ) throws(QuantizationError) {
    let size = hessian.size
    guard cross.count == hessian.values.count else {
      throw .shapeMismatch(
        layer: layer, expected: "a drift of \(hessian.values.count) values", found: "\(cross.count)")
    }
    if let index = cross.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(layer: layer, what: "the drift of the inputs", index: index)
    }
    columns = size
    var matrix = hessian.values.map(Double.init)
    let mean = (0..<size).reduce(0.0) { $0 + matrix[$1 * size + $1] } / Double(max(size, 1))
    for index in 0..<size { matrix[index * size + index] += Self.damping * mean }
    guard BLAS.factorCholesky(&matrix, size: size) else {
      step = nil
      return
    }
    // C as it lies is Cᵀ column by column, and H⁻¹ Cᵀ column by column is C H⁻¹ row by row.
    var sides = cross.map(Double.init)
    unsafe sides.withUnsafeMutableBufferPointer { sides in
      unsafe matrix.withUnsafeBufferPointer { matrix in
        guard let sides = sides.baseAddress, let factor = matrix.baseAddress else { return }
        pool.run(taskCount: (size + Self.chunk - 1) / Self.chunk) { task in
          let first = task * Self.chunk
          unsafe BLAS.solve(
            factor: factor, size: size, sides: sides + first * size, count: min(Self.chunk, size - first))
        }
      }
    }
    step = sides.map(Float.init)
  }
}
