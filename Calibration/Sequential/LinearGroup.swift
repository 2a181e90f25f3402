import GraphIR
import OrderedCollections

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
  public internal(set) var weights: [String]
  /// Scope of the first of them, such as `layers.3.attention`.
  public let scope: String
  /// Index of the first linear node: everything before it runs before the group is quantized.
  public let firstNode: Int

  /// Which tokens it sees; nil for all.
  public var expert: Expert?

  /// An expert whose inputs are those of the tokens that go to it.
  public struct Expert: Sendable, Equatable {
    /// Its number.
    public let number: Int
    /// How tokens choose.
    public let choice: ExpertChoice
  }

  private struct Key: Hashable {
    let input: ValueID
    let expert: Int?
  }

  /// The groups of a graph that hold at least one weight in `targets`, in the order in which they run. The weights of each
  /// expert are groups of their own.
  public static func groups(of graph: Graph, targets: Set<String>) -> [LinearGroup] {
    var order: [Key] = []
    var groups: [Key: LinearGroup] = [:]
    for node in graph.linearNodes {
      for (number, name) in node.weights.enumerated() where targets.contains(name) {
        let key = Key(input: node.input, expert: node.experts == nil ? nil : number)
        if groups[key] != nil {
          groups[key]?.weights.append(name)
          continue
        }
        guard let columns = graph.constants[name]?.dimensions.last else { continue }
        order.append(key)
        groups[key] = LinearGroup(
          input: node.input, inputName: graph.name(of: node.input), columns: columns, weights: [name],
          scope: node.scope, firstNode: node.index,
          expert: node.experts.map { Expert(number: number, choice: $0) })
      }
    }
    return order.compactMap { groups[$0] }.sorted { $0.firstNode < $1.firstNode }
  }
}
