import GraphIR
import OrderedCollections

/// Turns a sum and the normalization that follows it into one `add_rms_norm` with both results.
///
/// The node stands where the sum stood, in its scope. Of several normalizations of one sum the first is taken.
public struct FuseAddRMSNorm: GraphPass {
  /// `fuse-add-rms-norm`.
  public static let name = "fuse-add-rms-norm"
  /// The sentence for documents.
  public static let summary = "Turns a sum and its rms_norm into one node with both results."

  /// The pass.
  public init() {}

  /// Rewrites each sum whose first normalization is a plain one.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let uses = graph.uses
    var dead: Set<Int> = []
    for index in graph.nodes.indices where graph.nodes[index].operation == .add {
      guard let sum = graph.nodes[index].results.first else { continue }
      let norms = uses.consumers(of: sum).filter {
        graph.nodes[$0].operation == .rmsNorm && graph.nodes[$0].attributes["heads"] == nil
      }
      guard let norm = norms.first else { continue }
      if norms.count > 1 {
        report.missed(at: graph.name(of: sum), "\(norms.count - 1) more normalizations of it")
      }
      let normalized = graph.nodes[norm]
      graph.nodes[index].operation = .addRMSNorm
      graph.nodes[index].operands.append(normalized.operands[1])
      graph.nodes[index].attributes = normalized.attributes
      graph.nodes[index].results += normalized.results
      dead.insert(norm)
      report.fired(at: graph.name(of: sum))
    }
    graph.nodes = graph.nodes.enumerated().filter { !dead.contains($0.offset) }.map(\.element)
    return report
  }
}
