import GraphIR
import OrderedCollections

/// Turns a projection that makes gates and factors, and their product, into one `linear_gated`, whose tasks multiply what they
/// have made while it is in the cache. What lay between them, twice the width of the product, is never written.
public struct FuseLinearGated: GraphPass {
  /// `fuse-linear-gated`.
  public static let name = "fuse-linear-gated"
  /// The sentence for documents.
  public static let summary = "Lets the projection that makes gates and factors multiply them."

  /// The pass.
  public init() {}

  /// Rewrites each product in place; projection and slices go.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices {
      guard let part = GatedPart(graph.nodes[index]), let result = graph.nodes[index].results.first else {
        continue
      }
      let site = graph.name(of: result)
      switch find(part, index, graph, uses) {
      case .refused(let reason): report.missed(at: site, reason)
      case .found(let linear, let slices):
        graph.nodes[index].operation = .linearGated
        graph.nodes[index].operands = graph.nodes[linear].operands
        graph.nodes[index].attributes = part.attributes
        dead.formUnion(slices + [linear])
        report.fired(at: site)
      }
    }
    graph.removeNodes(at: dead)
    return report
  }

  private enum Search {
    case found(linear: Int, slices: [Int])
    case refused(String)
  }

  private func find(_ part: GatedPart, _ index: Int, _ graph: Graph, _ uses: UseTable) -> Search {
    var slices: [Int] = []
    for (what, value) in [("gate", part.gate), ("factor", part.up)] {
      guard let producer = uses.producer(of: value) else { return .refused("its \(what) is an input") }
      guard graph.nodes[producer].operation == .slice else {
        return .refused(
          "its \(what) is made by \(graph.nodes[producer].operation), not a part of a joined projection")
      }
      slices.append(producer)
    }
    let whole = slices.map { graph.nodes[$0].operands[0].value }
    guard let source = whole[0], source == whole[1], let linear = uses.producer(of: source),
      graph.nodes[linear].operation == .linear
    else { return .refused("gate and factor are not parts of one projection") }
    let width = graph.type(of: part.gate).columns ?? 0
    let starts = slices.map { (try? graph.nodes[$0].integer("start")) ?? -1 }
    guard starts == [0, width], graph.type(of: source).columns == 2 * width else {
      return .refused("gates are not the first half of the projection, and factors the second")
    }
    guard uses.consumers(of: part.gate) == [index], uses.consumers(of: part.up) == [index],
      Set(uses.consumers(of: source)) == Set(slices),
      ![part.gate, part.up, source].contains(where: uses.isOutput)
    else { return .refused("something else uses the projection") }
    return .found(linear: linear, slices: slices)
  }
}
