import Kernels

/// A search of factors by which columns of weights are multiplied and what makes their inputs is divided.
public protocol FoldSearch: Sendable {
  /// The best factors.
  /// - Parameters:
  ///   - readers: the weights that read the scaled values.
  ///   - factorOfColumn: for each column the number of its factor.
  ///   - adjust: what becomes of factors so that their producer can take them over exactly.
  /// - Throws: ``QuantizationError``.
  func search(
    _ readers: [AWQ.Reader], factorOfColumn: [Int], factorCount: Int, pool: ThreadPool,
    adjust: ([Float]) -> [Float]
  ) throws(QuantizationError) -> AWQ.Outcome
}
