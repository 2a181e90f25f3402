import GraphIR
import OrderedCollections

/// Applies the laws of ``AlgebraRule/exact``: removes operations that change nothing and joins those that follow each other,
/// without changing a bit of the result.
public struct SimplifyAlgebra: GraphPass {
  /// `simplify-algebra`.
  public static let name = "simplify-algebra"
  /// The sentence for documents.
  public static let summary =
    "Applies laws that change no bit: scales by one, nested scales, slices and clamps, parts joined and parted."

  /// The pass.
  public init() {}

  /// What the laws are called in reports.
  public static let laws = AlgebraRule.exact.map(\.name)

  private static let rules = Dictionary(grouping: AlgebraRule.exact) { $0.root }

  /// Walks the nodes once; operands are already simplified.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    let rules = Self.rules
    var replacements: [ValueID: ValueID] = [:]
    var dead: Set<Int> = []
    for index in graph.nodes.indices {
      guard let result = graph.nodes[index].results.first else { continue }
      let site = graph.name(of: result)
      // A law may make way for another at the same place.
      search: while let candidates = rules[graph.nodes[index].operation] {
        let matcher = AlgebraMatcher(graph: graph, uses: uses, replacements: replacements)
        guard let finding = matcher.finding(candidates, at: index) else { break search }
        switch finding.outcome {
        case .refused(let reason):
          report.missed(at: site, reason)
          break search
        case .value where uses.isOutput(result):
          report.missed(at: site, "it is an output of the graph")
          break search
        case .value(let value):
          replacements[result] = value
          dead.insert(index)
          report.fired(at: site, by: finding.law)
          break search
        case .node(let operation, let operands, let attributes):
          graph.nodes[index].operation = operation
          graph.nodes[index].operands = operands.map(Operand.value)
          graph.nodes[index].attributes = attributes
          report.fired(at: site, by: finding.law)
        }
      }
    }
    graph.replaceUses(replacements)
    graph.removeNodes(at: dead)
    return report
  }
}

extension AlgebraRule {
  /// The operation at whose nodes the pattern begins.
  fileprivate var root: Operation {
    guard case .node(_, let operation, _) = pattern else {
      preconditionFailure("a law begins with an operation")
    }
    return operation
  }
}
