import GraphIR
import OrderedCollections

/// Lets attention turn its queries and keys itself: queries on their way into a task, keys on their way into the cache. What is
/// turned is never written for others to read.
public struct FuseRotaryAttention: GraphPass {
  /// `fuse-rotary-attention`.
  public static let name = "fuse-rotary-attention"
  /// The sentence for documents.
  public static let summary = "Lets attention turn queries and keys by their positions as it reads them."

  /// The pass.
  public init() {}

  /// Rewrites each attention in place; its rotations go.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices where graph.nodes[index].operation == .attention {
      let node = graph.nodes[index]
      let turns = node.operands.prefix(2).map { operand in
        operand.value.flatMap(uses.producer).flatMap { graph.nodes[$0].operation == .rope ? $0 : nil }
      }
      guard turns.contains(where: { $0 != nil }) else { continue }
      let site = graph.name(of: node.results[0])
      guard let q = turns[0], let k = turns[1] else {
        report.missed(at: site, turns[0] == nil ? "its queries are not turned" : "its keys are not turned")
        continue
      }
      if let reason = refusal(index, q, k, graph, uses) {
        report.missed(at: site, reason)
        continue
      }
      let (queries, keys) = (graph.nodes[q], graph.nodes[k])
      let extras = Array(node.operands.dropFirst(3))
      var rotation = Array(queries.operands.dropFirst())
      // What means nothing stands where long frequencies would, before slopes and sinks.
      if rotation.count < 3, !extras.isEmpty { rotation.append(rotation[1]) }
      graph.nodes[index].operation = .rotaryAttention
      graph.nodes[index].operands =
        [queries.operands[0], keys.operands[0], node.operands[2]] + rotation + extras
      for (name, value) in queries.attributes where name != "heads" && name != "head_dim" {
        graph.nodes[index].attributes[name] = value
      }
      dead.formUnion([q, k])
      report.fired(at: site)
    }
    graph.removeNodes(at: dead)
    return report
  }

  private func refusal(_ index: Int, _ q: Int, _ k: Int, _ graph: Graph, _ uses: UseTable) -> String? {
    let (node, queries, keys) = (graph.nodes[index], graph.nodes[q], graph.nodes[k])
    func others(_ node: Node) -> OrderedDictionary<String, Attribute> {
      var attributes = node.attributes
      attributes["heads"] = nil
      return attributes
    }
    guard queries.operands.dropFirst() == keys.operands.dropFirst(), others(queries) == others(keys) else {
      return "queries and keys are turned in different ways"
    }
    guard queries.attributes["head_dim"] == node.attributes["head_dim"],
      queries.attributes["heads"] == node.attributes["heads"],
      keys.attributes["heads"] == node.attributes["kv_heads"]
    else { return "heads are turned that are not those of attention" }
    for turned in [queries.results[0], keys.results[0]] {
      guard !uses.isOutput(turned), uses.consumers(of: turned) == [index],
        node.valueOperands.count(where: { $0 == turned }) == 1
      else { return "something else uses \(graph.name(of: turned))" }
    }
    return nil
  }
}
