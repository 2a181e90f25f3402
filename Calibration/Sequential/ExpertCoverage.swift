import GraphIR

/// Tokens that the experts of a layer saw during calibration.
public struct ExpertCoverage: Sendable, Equatable {
  /// Scope of the layer, such as `layers.3.feed_forward`.
  public let scope: String
  /// Tokens that the router sent to each expert.
  public let routed: [Int]
  /// Tokens that each expert saw besides, for statistics only.
  public let borrowed: [Int]

  /// Numbers of the experts that the router sent fewer tokens.
  public func starved(below minimum: Int) -> [Int] { routed.indices.filter { routed[$0] < minimum } }

  /// Numbers of the experts that saw fewer tokens, borrowed ones included.
  public func stillStarved(below minimum: Int) -> [Int] {
    routed.indices.filter { routed[$0] + borrowed[$0] < minimum }
  }
}

extension StatisticsFile {
  /// What the experts of a graph saw, a row for each layer that has some; layers without statistics are left out.
  /// - Throws: `TensorCoreError`.
  public func expertCoverage(of graph: Graph) throws -> [ExpertCoverage] {
    var known: Set<ValueID> = []
    var result: [ExpertCoverage] = []
    for node in graph.linearNodes {
      guard let choice = node.experts, !known.contains(choice.routing) else { continue }
      let seen = try node.weights.map { try statistics(for: $0) }
      guard seen.allSatisfy({ $0 != nil }) else { continue }
      known.insert(choice.routing)
      result.append(
        ExpertCoverage(
          scope: node.scope, routed: seen.map { ($0?.tokenCount ?? 0) - ($0?.borrowedTokenCount ?? 0) },
          borrowed: seen.map { $0?.borrowedTokenCount ?? 0 }))
    }
    return result
  }
}
