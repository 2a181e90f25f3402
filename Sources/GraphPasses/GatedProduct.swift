import GraphIR

/// A product of which one side is an activation that nothing else uses: what SwiGLU and GEGLU are made of.
struct GatedProduct {
  /// The operation on the gate.
  let activation: Operation
  /// What the product becomes; it takes the activation's attributes.
  let product: Operation

  /// Rewrites each product in place, and adds to the report.
  func fuse(in graph: inout Graph, _ start: PassReport) throws(GraphError) -> PassReport {
    var report = start
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices where graph.nodes[index].operation == .multiply {
      let node = graph.nodes[index]
      guard let result = node.results.first else { continue }
      let activated = node.operands.indices.filter { isActivated(node.operands[$0], graph, uses) }
      if activated.isEmpty { continue }
      let site = graph.name(of: result)
      let usable = activated.first { position in
        node.operands[0] != node.operands[1]
          && node.operands[position].value.map { uses.consumers(of: $0) == [index] && !uses.isOutput($0) }
            == true
      }
      guard let usable, let open = node.operands[usable].value, let producer = uses.producer(of: open) else {
        report.missed(at: site, "something else uses the \(activation)")
        continue
      }
      graph.nodes[index].operation = product
      graph.nodes[index].operands = [graph.nodes[producer].operands[0], node.operands[1 - usable]]
      graph.nodes[index].attributes = graph.nodes[producer].attributes
      dead.insert(producer)
      report.fired(at: site)
    }
    graph.removeNodes(at: dead)
    return report
  }

  private func isActivated(_ operand: Operand, _ graph: Graph, _ uses: UseTable) -> Bool {
    guard let value = operand.value, let producer = uses.producer(of: value) else { return false }
    return graph.nodes[producer].operation == activation
  }
}
