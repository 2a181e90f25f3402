import Kernels

extension Program {
  /// For each step that multiplies weights, what threads that have finished with it read next: the weights of the step that follows,
  /// of the next run in the end. Nil for others; empty when the layout does without.
  func expectations(_ pool: ThreadPool) -> [[ThreadPool.Expectation]?] {
    guard options.layout.contains(.expectedWeights) else { return [] }
    var following: (matrix: PanelMatrix, isGated: Bool)? = steps.lazy.compactMap(\.streamedMatrix).first
    var result: [[ThreadPool.Expectation]?] = []
    for step in steps.reversed() {
      guard let own = step.streamedMatrix, let next = following else {
        result.append(nil)
        continue
      }
      result.append(KernelTable.expectations(of: next.matrix, isGated: next.isGated, pool: pool))
      following = own
    }
    return result.reversed()
  }
}

extension Step {
  /// The matrix whose weights are read from the first to the last; nil for steps without one, and for tables and experts, of which
  /// a run reads parts that are known late.
  fileprivate var streamedMatrix: (matrix: PanelMatrix, isGated: Bool)? {
    switch kind {
    case .linear(let matrix, _, _, _): (matrix, false)
    case .linearGated(let matrix, _, _, _): (matrix, true)
    default: nil
    }
  }
}
