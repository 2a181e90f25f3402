import GraphIR
import OrderedCollections

/// Turns the projections that make gates and factors, or one that makes both, and their product into one `linear_gated`, whose
/// tasks multiply what they have made while it is in the cache. What lay between them, twice the width of the product, is never
/// written.
///
/// Two projections become one by the rows of their weights, as in ``FuseParallelProjections``.
public struct FuseLinearGated: GraphPass {
  /// `fuse-linear-gated`.
  public static let name = "fuse-linear-gated"
  /// The sentence for documents.
  public static let summary = "Lets one projection make gates and factors and multiply them."

  /// The pass.
  public init() {}

  /// Rewrites each product in place; projections and slices go.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var catalog = ProjectionStorage.Catalog()
    var dead: Set<Int> = []
    for index in graph.nodes.indices {
      guard let part = GatedPart(graph.nodes[index]), let result = graph.nodes[index].results.first else {
        continue
      }
      let site = graph.name(of: result)
      switch find(part, index, graph, uses, &catalog) {
      case .refused(let reason): report.missed(at: site, reason)
      case .found(let operands, let nodes):
        graph.nodes[index].operation = .linearGated
        graph.nodes[index].operands = operands
        graph.nodes[index].attributes = part.attributes
        dead.formUnion(nodes)
        report.fired(at: site)
      }
    }
    graph.removeNodes(at: dead)
    return report
  }

  private enum Search {
    /// The operands of the projection of both, and the nodes that it takes the place of.
    case found([Operand], [Int])
    case refused(String)
  }

  private func find(
    _ part: GatedPart, _ index: Int, _ graph: Graph, _ uses: UseTable,
    _ catalog: inout ProjectionStorage.Catalog
  ) -> Search {
    var makers: [Int] = []
    for (what, value) in [("gate", part.gate), ("factor", part.up)] {
      guard let producer = uses.producer(of: value) else { return .refused("its \(what) is an input") }
      guard [.slice, .linear].contains(graph.nodes[producer].operation) else {
        return .refused(
          "its \(what) is made by \(graph.nodes[producer].operation), not by a projection")
      }
      guard uses.consumers(of: value) == [index], !uses.isOutput(value) else {
        return .refused("something else uses its \(what)")
      }
      makers.append(producer)
    }
    switch (graph.nodes[makers[0]].operation, graph.nodes[makers[1]].operation) {
    case (.slice, .slice): return halves(part, makers, graph, uses)
    case (.linear, .linear): return pair(makers[0], makers[1], graph, &catalog)
    default: return .refused("only one of gate and factor is a part of a projection")
    }
  }

  /// Two slices of one projection.
  private func halves(_ part: GatedPart, _ slices: [Int], _ graph: Graph, _ uses: UseTable) -> Search {
    let whole = slices.map { graph.nodes[$0].operands[0].value }
    guard let source = whole[0], source == whole[1], let linear = uses.producer(of: source),
      graph.nodes[linear].operation == .linear
    else { return .refused("gate and factor are not parts of one projection") }
    let width = graph.type(of: part.gate).columns ?? 0
    let starts = slices.map { (try? graph.nodes[$0].integer("start")) ?? -1 }
    guard starts == [0, width], graph.type(of: source).columns == 2 * width else {
      return .refused("gates are not the first half of the projection, and factors the second")
    }
    guard Set(uses.consumers(of: source)) == Set(slices), !uses.isOutput(source) else {
      return .refused("something else uses the projection")
    }
    return .found(graph.nodes[linear].operands, slices + [linear])
  }

  /// Two projections of one value.
  private func pair(
    _ gate: Int, _ up: Int, _ graph: Graph, _ catalog: inout ProjectionStorage.Catalog
  ) -> Search {
    let (first, second) = (graph.nodes[gate], graph.nodes[up])
    guard gate != up else { return .refused("gate and factor are the same") }
    guard first.operands[0] == second.operands[0] else {
      return .refused("gate and factor are projections of two values")
    }
    guard first.scope == second.scope else { return .refused("the projections lie in two scopes") }
    guard first.operands.count == second.operands.count else {
      return .refused("one of the projections has a bias")
    }
    var operands = [first.operands[0]]
    for position in first.operands.indices.dropFirst() {
      let names = first.operands[position].constants + second.operands[position].constants
      let types = names.compactMap { graph.constants[$0] }
      let storages = position == 1 ? catalog.storages(of: types) : []
      guard storages.count <= 1, position == 1 || Set(types.map(\.encoding)).count == 1 else {
        let kinds = position == 1 ? storages.map(\.description) : types.map(\.encoding)
        return .refused("they are stored as " + kinds.joined(separator: " and as "))
      }
      operands.append(.concatenation(names))
    }
    return .found(operands, [gate, up])
  }
}
