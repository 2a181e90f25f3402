import GraphIR
import OrderedCollections

/// Turns the five operations of gpt-oss's gate, limits on both sides, a logistic unit and a factor that one is added to, into
/// one `limited_glu`.
public struct FuseLimitedGLU: GraphPass {
  /// `fuse-limited-glu`.
  public static let name = "fuse-limited-glu"
  /// The sentence for documents.
  public static let summary =
    "Turns gelu(min(gate, limit)) * (1 + limited up), written out, into one limited_glu."

  /// The pass.
  public init() {}

  /// `g * u + g`, sums and products in either order.
  private static let patterns: [AlgebraPattern] = {
    let gate = AlgebraPattern.node("g", .gelu, [.node("below", .clamp, [.any("gate")])])
    let up = AlgebraPattern.node("u", .clamp, [.any("up")])
    let open = AlgebraPattern.any("g")
    return [[gate, up], [up, gate]].flatMap { factors -> [AlgebraPattern] in
      let product = AlgebraPattern.node("p", .multiply, factors)
      return [.node("y", .add, [product, open]), .node("y", .add, [open, product])]
    }
  }()

  /// Rewrites each sum in place; what it is made of goes.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    let matcher = AlgebraMatcher(graph: graph, uses: uses)
    var dead: Set<Int> = []
    for index in graph.nodes.indices where graph.nodes[index].operation == .add {
      guard let match = Self.patterns.lazy.compactMap({ matcher.match($0, at: index) }).first,
        let gate = match.values["gate"], let up = match.values["up"]
      else { continue }
      let site = graph.name(of: graph.nodes[index].results[0])
      if let reason = refusal(match, index, uses) {
        report.missed(at: site, reason)
        continue
      }
      graph.nodes[index].operation = .limitedGLU
      graph.nodes[index].operands = [.value(gate), .value(up)]
      graph.nodes[index].attributes = ["limit": .float(match.float("below", "maximum"))]
      dead.formUnion(["below", "g", "u", "p"].compactMap { match.values[$0].flatMap(uses.producer) })
      report.fired(at: site)
    }
    graph.removeNodes(at: dead)
    return report
  }

  private func refusal(_ match: AlgebraMatch, _ index: Int, _ uses: UseTable) -> String? {
    let limit = match.float("below", "maximum")
    guard match.nodes["g"]?.attributes["approximate"] == "sigmoid" else { return "its gelu is another one" }
    guard match.float("below", "minimum") == -Double(Float.greatestFiniteMagnitude) else {
      return "its gate is limited from below"
    }
    guard limit >= 0, match.float("u", "maximum") == limit, match.float("u", "minimum") == -limit else {
      return "gate and factor have other limits"
    }
    let inside = Set(["g", "p"].compactMap { match.values[$0].flatMap(uses.producer) } + [index])
    for part in ["below", "g", "u", "p"] {
      guard let value = match.values[part], !uses.isOutput(value),
        uses.consumers(of: value).allSatisfy(inside.contains)
      else { return "something else uses the \(part == "p" ? "product" : part == "u" ? "factor" : "gate")" }
    }
    return nil
  }
}
