import GraphIR
import OrderedCollections

/// A sum with a normalization of its whole rows: what `add_rms_norm` and `add_layer_norm` are made of.
struct NormalizedSum {
  /// The normalization.
  let normalization: Operation
  /// What both become, where the sum stood, in its scope.
  let fused: Operation

  /// Rewrites each sum, and adds to the report. Of several normalizations of one sum the first is taken.
  func fuse(in graph: inout Graph, _ start: PassReport) throws(GraphError) -> PassReport {
    var report = start
    guard graph.nodes.contains(where: { $0.operation == normalization }) else { return report }
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices where graph.nodes[index].operation == .add {
      guard let sum = graph.nodes[index].results.first else { continue }
      let site = graph.name(of: sum)
      let norms = uses.consumers(of: sum).filter { graph.nodes[$0].operation == normalization }
      guard !norms.isEmpty else {
        report.missed(at: site, "no \(normalization) reads the sum")
        continue
      }
      guard let norm = norms.first(where: { graph.nodes[$0].attributes["heads"] == nil }) else {
        report.missed(at: site, "its \(normalization) is one of heads")
        continue
      }
      guard hasPlainWeights(graph.nodes[norm], graph) else {
        report.missed(at: site, "the gain of its \(normalization) is no single vector")
        continue
      }
      if norms.count > 1 { report.missed(at: site, "\(norms.count - 1) more normalizations of it") }
      let normalized = graph.nodes[norm]
      graph.nodes[index].operation = fused
      graph.nodes[index].operands += normalized.operands.dropFirst()
      graph.nodes[index].attributes = normalized.attributes
      graph.nodes[index].results += normalized.results
      dead.insert(norm)
      report.fired(at: site)
    }
    guard !dead.isEmpty else { return report }
    graph.nodes = graph.nodes.enumerated().filter { !dead.contains($0.offset) }.map(\.element)
    return report
  }

  private func hasPlainWeights(_ node: Node, _ graph: Graph) -> Bool {
    node.operands.dropFirst().allSatisfy { operand in
      guard case .constant(let name) = operand else { return false }
      return graph.constants[name]?.dimensions.count == 1
    }
  }
}
