import GraphIR
import OrderedCollections

/// An input of projections that nothing before it can turn: it has to be multiplied with a Hadamard matrix when the model runs, and the
/// projections' columns beforehand.
///
/// Norms are not among them: the residual stream turns those. Found from the graph alone: a product, an activation or attention makes
/// it, and projections with weights of their own are all that read it.
/// Source: Ashkboos et al. 2024, "QuaRot" (arXiv 2404.00456), section 4, stages 1b and 1c.
public struct TurnableInput: Sendable, Equatable {
  /// The value.
  public let value: ValueID
  /// Names of the weights that read it.
  public let weights: [String]
  /// Whether attention makes it: the input of an output projection.
  public let isAttention: Bool
  /// Columns of a Hadamard block: the largest power of two that divides those of the value.
  public let blockSize: Int

  private static let producers: Set<Operation> = [
    .multiply, .attention, .silu, .gelu, .relu, .sigmoid, .swiglu, .geglu, .limitedGLU,
  ]

  /// All of them, in the order of the graph.
  public static func find(in graph: Graph) -> [TurnableInput] {
    let uses = graph.uses
    var counts: [String: Int] = [:]
    for node in graph.nodes {
      for name in Set(node.constantOperands) { counts[name, default: 0] += 1 }
    }
    return graph.nodes.compactMap { node in
      guard producers.contains(node.operation), node.results.count == 1, let value = node.results.first,
        let columns = graph.type(of: value).columns, !uses.isOutput(value)
      else { return nil }
      let readers = uses.consumers(of: value).map { graph.nodes[$0] }
      let weights = readers.flatMap { $0.operands.count > 1 ? $0.operands[1].constants : [] }
      guard !readers.isEmpty,
        readers.allSatisfy({ $0.operation == .linear && $0.valueOperands == [value] }),
        weights.count == readers.count, weights.allSatisfy({ counts[$0] == 1 }), columns & -columns > 1
      else { return nil }
      return TurnableInput(
        value: value, weights: weights, isAttention: node.operation == .attention,
        blockSize: columns & -columns)
    }
  }
}

extension Graph {
  /// Multiplies inputs of projections with Hadamard matrices, right before these.
  /// - Throws: ``GraphError`` when an input has other columns.
  public mutating func turn(_ inputs: [TurnableInput]) throws(GraphError) {
    for input in inputs {
      let readers = uses.consumers(of: input.value)
      guard let first = readers.first else { continue }
      let turned = try insert(
        .hadamard, [.value(input.value)], attributes: ["block": .int(input.blockSize)],
        names: [name(of: input.value) + ".turned"], scope: nodes[first].scope, at: first)
      for reader in readers {
        nodes[reader + 1].operands = nodes[reader + 1].operands.map { operand in
          operand.value == input.value ? .value(turned[0]) : operand
        }
      }
    }
  }

  /// Whether inputs are multiplied with Hadamard matrices, which the files of other engines cannot say.
  public var turnsInputs: Bool { nodes.contains { $0.operation == .hadamard } }
}
