import Codecs
import Execution
import GraphIR
import GraphPasses
import OrderedCollections

extension PassPipeline {
  /// Runs over a copy of a graph. Projections that would share an input which their layers quantize in different ways stay apart.
  /// - Throws: `GraphPassError`.
  func run(
    _ graph: Graph, activations: OrderedDictionary<String, InputQuantization>
  ) throws -> (Graph, [PassReport]) {
    var result = graph
    let reports = try run(&result)
    guard !PreparedWeights.disagreements(in: result, activations).isEmpty else { return (result, reports) }
    result = graph
    let others = PassPipeline(
      passes.filter {
        !($0 is FuseParallelProjections || $0 is FuseExpertGates || $0 is FuseLinearGated)
      })
    return (result, try others.run(&result))
  }
}
