import GraphIR
import OrderedCollections

/// Turns gates and factors by experts, with or without biases, and their product into one `expert_gated`: each expert has one
/// matrix for both, and its tokens are gathered and rounded once.
public struct FuseExpertGates: GraphPass {
  /// `fuse-expert-gates`.
  public static let name = "fuse-expert-gates"
  /// The sentence for documents.
  public static let summary = "Joins gates and factors of experts, and lets the experts multiply them."

  /// The pass.
  public init() {}

  /// What one side of a product is made of.
  private struct Side {
    let linear: Int
    let bias: Int?
    let values: [ValueID]
  }

  /// Rewrites each product in place; what it is made of goes.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices {
      guard let part = GatedPart(graph.nodes[index]), let result = graph.nodes[index].results.first,
        let gate = side(part.gate, graph, uses), let up = side(part.up, graph, uses)
      else { continue }
      let site = graph.name(of: result)
      if let reason = refusal(gate, up, index, graph, uses) {
        report.missed(at: site, reason)
        continue
      }
      let linear = graph.nodes[gate.linear]
      var operands = linear.operands
      operands.append(graph.nodes[up.linear].operands[2])
      operands += [gate, up].compactMap { $0.bias.map { graph.nodes[$0].operands[2] } }
      graph.nodes[index].operation = .expertGated
      graph.nodes[index].operands = operands
      graph.nodes[index].attributes = linear.attributes
      for (name, value) in part.attributes { graph.nodes[index].attributes[name] = value }
      dead.formUnion([gate.linear, up.linear] + [gate.bias, up.bias].compactMap(\.self))
      report.fired(at: site)
    }
    graph.removeNodes(at: dead)
    return report
  }

  /// Nil when the value is not made by experts.
  private func side(_ value: ValueID, _ graph: Graph, _ uses: UseTable) -> Side? {
    guard let producer = uses.producer(of: value) else { return nil }
    switch graph.nodes[producer].operation {
    case .expertLinear: return Side(linear: producer, bias: nil, values: [value])
    case .expertBias:
      guard let inner = graph.nodes[producer].operands[0].value, let linear = uses.producer(of: inner),
        graph.nodes[linear].operation == .expertLinear,
        graph.nodes[linear].operands[1] == graph.nodes[producer].operands[1],
        graph.nodes[linear].attributes == graph.nodes[producer].attributes
      else { return nil }
      return Side(linear: linear, bias: producer, values: [value, inner])
    default: return nil
    }
  }

  private func refusal(_ gate: Side, _ up: Side, _ index: Int, _ graph: Graph, _ uses: UseTable) -> String? {
    guard gate.linear != up.linear else { return "gate and factor are the same" }
    let (first, second) = (graph.nodes[gate.linear], graph.nodes[up.linear])
    guard first.operands.prefix(2) == second.operands.prefix(2), first.attributes == second.attributes else {
      return "gate and factor have other inputs or other experts"
    }
    guard (gate.bias == nil) == (up.bias == nil) else { return "one of gate and factor has biases" }
    let insides = [index, gate.bias ?? index, up.bias ?? index]
    for value in gate.values + up.values {
      guard !uses.isOutput(value), uses.consumers(of: value).allSatisfy(insides.contains) else {
        return "something else uses \(graph.name(of: value))"
      }
    }
    let (gates, ups) = (first.operands[2].constants, second.operands[2].constants)
    let experts = first.operands[1].value.flatMap { graph.type(of: $0).columns }
    guard gates.count == experts, ups.count == experts else {
      return "the matrices of all experts are one constant"
    }
    for (a, b) in zip(gates, ups) {
      let (gate, up) = (graph.constants[a], graph.constants[b])
      guard gate?.dimensions == up?.dimensions else { return "@\(a) and @\(b) have other sizes" }
      guard gate?.encoding == up?.encoding else {
        return "@\(a) is stored as \(gate?.encoding ?? ""), @\(b) as \(up?.encoding ?? "")"
      }
    }
    return nil
  }
}
