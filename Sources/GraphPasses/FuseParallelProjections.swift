import GraphIR
import OrderedCollections

/// Turns projections of the same value (query, key and value; gate and up) into one projection by the rows of all
/// their weights, and slices of its result.
///
/// The projection stands where the first one stood. Joined are those with weights stored alike, or in such a way that panels of
/// one kind hold both as they are (``ProjectionStorage``), all with or all without a bias, in the same scope. Row by row nothing
/// changes, so that results are bit for bit the same.
public struct FuseParallelProjections: GraphPass {
  /// `fuse-parallel-projections`.
  public static let name = "fuse-parallel-projections"
  /// The sentence for documents.
  public static let summary = "Joins projections of one value into one projection and slices of its result."

  /// The pass.
  public init() {}

  private struct Key: Hashable {
    let input: ValueID
    let scope: String
    let storages: [ProjectionStorage]
    let biasEncodings: [String]
  }

  /// Groups the projections, then rebuilds the list of nodes once.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let groups = groups(in: graph, &report)
    guard !groups.isEmpty else { return report }
    let leaders = Dictionary(uniqueKeysWithValues: groups.map { ($0[0], $0) })
    let members = Set(groups.joined())
    let old = graph.nodes
    graph.nodes = []
    for (index, node) in old.enumerated() {
      if let group = leaders[index] {
        try fuse(group.map { old[$0] }, in: &graph)
        report.fired(at: group.map { graph.name(of: old[$0].results[0]) }.joined(separator: ", "))
      } else if !members.contains(index) {
        graph.nodes.append(node)
      }
    }
    return report
  }

  /// Groups of two projections or more, each in order, by their first members.
  private func groups(in graph: Graph, _ report: inout PassReport) -> [[Int]] {
    var byKey: [Key: [Int]] = [:]
    var byInput: [ValueID: [Int]] = [:]
    var catalog = ProjectionStorage.Catalog()
    for linear in graph.linearNodes where linear.experts == nil {
      let key = Key(
        input: linear.input, scope: linear.scope, storages: storages(linear.weights, graph, &catalog),
        biasEncodings: encodings(linear.biases, graph))
      if key.storages.count == 1, key.biasEncodings.count <= 1 {
        byKey[key, default: []].append(linear.index)
      }
      byInput[linear.input, default: []].append(linear.index)
    }
    let groups = byKey.values.filter { $0.count > 1 }.sorted { $0[0] < $1[0] }
    let grouped = Set(groups.joined())
    for (_, indices) in byInput.sorted(by: { $0.value[0] < $1.value[0] }) where indices.count > 1 {
      for index in indices where !grouped.contains(index) {
        let others = indices.filter { $0 != index }
        report.missed(
          at: graph.name(of: graph.nodes[index].results[0]),
          reason(graph.nodes[index], others, graph, &catalog))
      }
    }
    return groups
  }

  /// The first condition that no other projection of the same value meets.
  private func reason(
    _ node: Node, _ others: [Int], _ graph: Graph, _ catalog: inout ProjectionStorage.Catalog
  ) -> String {
    let near = others.map { graph.nodes[$0] }.filter { $0.scope == node.scope }
    guard !near.isEmpty else { return "the other projections of the value lie in other scopes" }
    let own = storages(node.operands[1].constants, graph, &catalog)
    guard own.count == 1 else { return "its weights are stored in \(own.count) ways" }
    let alike = near.filter { storages($0.operands[1].constants, graph, &catalog) == own }
    guard !alike.isEmpty else {
      return
        "no other projection of the value is stored as \(own[0]), and another storage would be a lossy one or a larger one"
    }
    guard alike.contains(where: { $0.operands.count == node.operands.count }) else {
      return node.operands.count > 2
        ? "it has a bias and the others have none" : "the others have a bias and it has none"
    }
    return "its bias is stored otherwise than those of the others"
  }

  /// The distinct ways in which constants are stored.
  private func storages(
    _ names: [String], _ graph: Graph, _ catalog: inout ProjectionStorage.Catalog
  ) -> [ProjectionStorage] {
    catalog.storages(of: names.compactMap { graph.constants[$0] })
  }

  /// The distinct encodings of constants.
  private func encodings(_ names: [String], _ graph: Graph) -> [String] {
    Set(names.compactMap { graph.constants[$0]?.encoding }).sorted()
  }

  /// Appends the joined projection, and slices that make the old results.
  private func fuse(_ nodes: [Node], in graph: inout Graph) throws(GraphError) {
    var operands = [nodes[0].operands[0], Operand.concatenation(nodes.flatMap { $0.operands[1].constants })]
    if nodes[0].operands.count > 2 {
      operands.append(.concatenation(nodes.flatMap { $0.operands[2].constants }))
    }
    let names = nodes.map { graph.name(of: $0.results[0]) }
    let joined = try graph.insert(
      .linear, operands, names: [names.joined(separator: "_")], scope: nodes[0].scope)[0]
    var start = 0
    for node in nodes {
      let length = graph.type(of: node.results[0]).columns ?? 0
      try graph.insert(
        .slice, [.value(joined)], attributes: ["start": .int(start), "length": .int(length)],
        making: node.results, scope: node.scope)
      start += length
    }
  }
}
