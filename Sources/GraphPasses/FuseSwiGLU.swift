import GraphIR

/// Turns `multiply(silu(gate), up)` into `swiglu(gate, up)`.
public struct FuseSwiGLU: GraphPass {
  /// `fuse-swiglu`.
  public static let name = "fuse-swiglu"
  /// The sentence for documents.
  public static let summary = "Turns multiply(silu(gate), up) into swiglu(gate, up)."

  /// The pass.
  public init() {}

  /// Rewrites each product in place; the silu goes when nothing else uses it.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices where graph.nodes[index].operation == .multiply {
      let node = graph.nodes[index]
      guard let product = node.results.first else { continue }
      let activated = node.operands.indices.filter { isSilu(node.operands[$0], graph, uses) }
      if activated.isEmpty { continue }
      let site = graph.name(of: product)
      let usable = activated.first { position in
        node.operands[0] != node.operands[1]
          && node.operands[position].value.map { uses.consumers(of: $0) == [index] && !uses.isOutput($0) }
            == true
      }
      guard let usable, let silu = node.operands[usable].value, let producer = uses.producer(of: silu) else {
        report.missed(at: site, "something else uses the silu")
        continue
      }
      graph.nodes[index].operation = .swiglu
      graph.nodes[index].operands = [graph.nodes[producer].operands[0], node.operands[1 - usable]]
      dead.insert(producer)
      report.fired(at: site)
    }
    graph.removeNodes(at: dead)
    return report
  }

  private func isSilu(_ operand: Operand, _ graph: Graph, _ uses: UseTable) -> Bool {
    guard let value = operand.value, let producer = uses.producer(of: value) else { return false }
    return graph.nodes[producer].operation == .silu
  }
}
