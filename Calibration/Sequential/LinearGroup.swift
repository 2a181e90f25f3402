import GraphIR

/// Linear layers that read the same values, such as the query, key and value projections of a layer: they share
/// statistics and are quantized together.
public struct LinearGroup: Sendable, Equatable {
  /// The value that they read.
  public let input: ValueID
  /// Name of that value.
  public let inputName: String
  /// Input features.
  public let columns: Int
  /// Weights in graph order.
  public let weights: [String]
  /// Scope of the first of them, such as `layers.3.attention`.
  public let scope: String
  /// Index of the first linear node: everything before it runs before the group is quantized.
  public let firstNode: Int

  /// The groups of a graph that hold at least one weight in `targets`, in the order in which they run.
  public static func groups(of graph: Graph, targets: Set<String>) -> [LinearGroup] {
    var order: [ValueID] = []
    var members: [ValueID: [LinearNode]] = [:]
    for node in graph.linearNodes where node.weights.contains(where: targets.contains) {
      if members[node.input] == nil { order.append(node.input) }
      members[node.input, default: []].append(node)
    }
    return order.compactMap { input in
      guard let nodes = members[input], let first = nodes.first, let columns = graph.type(of: input).columns
      else {
        return nil
      }
      return LinearGroup(
        input: input, inputName: graph.name(of: input), columns: columns,
        weights: nodes.flatMap(\.weights).filter(targets.contains), scope: first.scope, firstNode: first.index
      )
    }
  }
}
