import GraphIR
import OrderedCollections

/// Turns an activation of a projection into a part of the projection, which sends what it has made through the
/// activation while it is in the cache, by all threads.
public struct FuseLinearActivation: GraphPass {
  /// `fuse-linear-activation`.
  public static let name = "fuse-linear-activation"
  /// The sentence for documents.
  public static let summary =
    "Lets a projection with or without bias apply the activation that alone reads it."

  /// The pass.
  public init() {}

  /// Rewrites each activation in place; its projection goes.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices {
      let node = graph.nodes[index]
      guard let activation = activation(node), let result = node.results.first,
        let value = node.operands.first?.value
      else { continue }
      let site = graph.name(of: result)
      guard let producer = uses.producer(of: value), graph.nodes[producer].operation == .linear else {
        let made = uses.producer(of: value).map { "\(graph.nodes[$0].operation)" } ?? "an input"
        report.missed(at: site, "its operand is made by \(made), not by a projection")
        continue
      }
      guard uses.consumers(of: value) == [index], !uses.isOutput(value) else {
        report.missed(at: site, "something else uses the projection")
        continue
      }
      graph.nodes[index].operation = .linearActivation
      graph.nodes[index].operands = graph.nodes[producer].operands
      graph.nodes[index].attributes = ["activation": .string(activation)]
      dead.insert(producer)
      report.fired(at: site)
    }
    graph.removeNodes(at: dead)
    return report
  }

  /// What `linear_activation` calls it; nil for other operations.
  private func activation(_ node: Node) -> String? {
    switch node.operation {
    case .silu, .relu, .sigmoid: return node.operation.rawValue
    case .gelu:
      guard let kind = try? node.string("approximate") else { return nil }
      return kind == "none" ? "gelu" : "gelu_" + kind
    default: return nil
    }
  }
}
