import GraphIR
import OrderedCollections

/// Computes once what several nodes compute from the same operands with the same attributes, in whatever order sums and
/// products have theirs.
///
/// The first node stays, in its scope. Nodes that write a cache (attention) are never joined, nor is a node whose result
/// is an output of the graph, whose name must stay.
public struct EliminateCommonSubexpressions: GraphPass {
  /// `eliminate-common-subexpressions`.
  public static let name = "eliminate-common-subexpressions"
  /// The sentence for documents.
  public static let summary = "Joins nodes that compute the same."

  /// The pass.
  public init() {}

  /// Operations that write a cache.
  private static let writers: Set<Operation> = [.attention, .rotaryAttention]

  private struct Key: Hashable {
    let operation: Operation
    let operands: [Operand]
    let attributes: OrderedDictionary<String, Attribute>
  }

  /// Walks the nodes once; operands are already those of the first nodes, so that chains join in one walk.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    var seen: [Key: [ValueID]] = [:]
    var replacements: [ValueID: ValueID] = [:]
    var duplicates: Set<Int> = []
    let outputs = Set(graph.outputs)
    for (index, node) in graph.nodes.enumerated() where !Self.writers.contains(node.operation) {
      let operands = node.operands.map { operand in
        operand.value.flatMap { replacements[$0] }.map(Operand.value) ?? operand
      }
      let key = Key(
        operation: node.operation, operands: Self.canonical(operands, of: node.operation),
        attributes: node.attributes)
      guard let first = seen[key] else {
        seen[key] = node.results
        continue
      }
      let site = node.results.first.map { graph.name(of: $0) } ?? node.operation.rawValue
      guard !node.results.contains(where: outputs.contains) else {
        report.missed(at: site, "it is an output of the graph")
        continue
      }
      for (old, new) in zip(node.results, first) { replacements[old] = new }
      duplicates.insert(index)
      report.fired(at: site)
    }
    graph.replaceUses(replacements)
    graph.removeNodes(at: duplicates)
    return report
  }

  /// The operands in an order that does not matter for the result: a + b is b + a, to the bit.
  private static func canonical(_ operands: [Operand], of operation: Operation) -> [Operand] {
    guard operation == .add || operation == .multiply else { return operands }
    return operands.sorted { a, b in (a.value?.raw ?? 0) < (b.value?.raw ?? 0) }
  }
}
