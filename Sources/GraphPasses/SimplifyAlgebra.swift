import GraphIR
import OrderedCollections

/// Removes operations that change nothing, and joins those that follow each other, without changing a bit of the result.
///
/// `scale` by 1; a `slice` of all columns; a `slice` of a `slice`. Factors of nested scales are not multiplied: that
/// would round differently.
public struct SimplifyAlgebra: GraphPass {
  /// `simplify-algebra`.
  public static let name = "simplify-algebra"
  /// The sentence for documents.
  public static let summary = "Removes scales by one and whole slices, and joins nested slices."

  /// The pass.
  public init() {}

  /// Walks the nodes once; operands are already simplified.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var replacements: [ValueID: ValueID] = [:]
    var dead: Set<Int> = []
    for index in graph.nodes.indices {
      let node = graph.nodes[index]
      guard node.operation == .scale || node.operation == .slice, let result = node.results.first,
        let operand = node.operands[0].value
      else { continue }
      let site = graph.name(of: result)
      let input = replacements[operand] ?? operand
      if try isIdentity(node, input: input, graph) {
        guard !uses.isOutput(result) else {
          report.missed(at: site, "it is an output of the graph")
          continue
        }
        replacements[result] = input
        dead.insert(index)
        report.fired(at: site)
      } else if node.operation == .slice, let producer = uses.producer(of: input),
        graph.nodes[producer].operation == .slice
      {
        let start = try node.integer("start") + graph.nodes[producer].integer("start")
        graph.nodes[index].operands = graph.nodes[producer].operands
        graph.nodes[index].attributes["start"] = .int(start)
        report.fired(at: site)
      }
    }
    graph.replaceUses(replacements)
    graph.removeNodes(at: dead)
    return report
  }

  private func isIdentity(_ node: Node, input: ValueID, _ graph: Graph) throws(GraphError) -> Bool {
    if node.operation == .scale { return Float(try node.float("factor")) == 1 }
    return try node.integer("length") == graph.type(of: input).columns
  }
}
