import GraphIR

/// Removes nodes whose results nothing needs, and declarations of constants that no node uses.
public struct RemoveDeadCode: GraphPass {
  /// `remove-dead-code`.
  public static let name = "remove-dead-code"
  /// The sentence for documents.
  public static let summary = "Removes nodes and constants that the outputs do not depend on."

  /// The pass.
  public init() {}

  /// Walks the nodes once from the outputs back.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    var needed = Set(graph.outputs)
    var dead: Set<Int> = []
    for (index, node) in graph.nodes.enumerated().reversed() {
      if node.results.contains(where: needed.contains) {
        needed.formUnion(node.valueOperands)
      } else {
        dead.insert(index)
      }
    }
    for index in dead.sorted() {
      if let first = graph.nodes[index].results.first { report.fired(at: graph.name(of: first)) }
    }
    graph.removeNodes(at: dead)
    for name in graph.removeUnusedConstants() { report.fired(at: name) }
    return report
  }
}
