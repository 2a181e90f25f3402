import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections

/// Programs of one model with all passes and all of the planner's layout, without each of them, and without any: all by the
/// same kernels, over shared weights.
public struct Ablation: Sendable {
  /// One way to prepare the model.
  public struct Variant: Sendable {
    /// `all`, `without fuse-swiglu`, ..., `without any`.
    public let name: String
    /// Ready to run.
    public let program: Program
    /// Nodes of the graph.
    public let nodeCount: Int
    /// Bytes of the arena for each token of a run.
    public let arenaByteCount: Int
  }

  /// The variants; the first one has everything, the last one nothing.
  public let variants: [Variant]
  /// Passes of the standard pipeline that did not fire, and are therefore not left out one by one.
  public let idlePasses: [String]

  /// Prepares every variant of a checkpoint.
  /// - Throws: ``PipelineError/unsupportedFormat(path:format:reason:hint:)`` for packed files, `ExecutionError`, `GraphError`.
  public init(_ model: LoadedModel, options: ExecutionOptions) throws {
    let weights = try model.requireCheckpoint()
    var prepared = PreparedWeights()
    let packing: PreparedWeights.MatrixPacking = options.activations == .float32 ? .exactPanels : .panels
    func graph(_ pipeline: PassPipeline) throws -> (Graph, [PassReport]) {
      var graph = model.graph
      let reports = try pipeline.run(&graph)
      try prepared.add(graph: graph, weight: { try FoldedConstants().weight($0, weights) }, matrices: packing)
      return (graph, reports)
    }
    let (best, reports) = try graph(.standard)
    let fired = Set(reports.filter(\.changed).map(\.pass))
    var names: [String] = []
    for pass in PassPipeline.standard.passes where !names.contains(pass.name) { names.append(pass.name) }
    var graphs = [("all", best, LayoutOptions.all)]
    for name in names where fired.contains(name) {
      let rest = PassPipeline(PassPipeline.standard.passes.filter { $0.name != name })
      graphs.append(("without " + name, try graph(rest).0, .all))
    }
    for (name, part) in LayoutOptions.named {
      graphs.append(("without " + name, best, LayoutOptions.all.subtracting(part)))
    }
    let textbook = try graph(PassPipeline([])).0
    graphs.append(("without passes", textbook, .all))
    graphs.append(("without any", textbook, []))
    idlePasses = names.filter { !fired.contains($0) }
    variants = try graphs.map { name, graph, layout in
      var options = options
      options.layout = layout
      let program = try Program(graph: graph, weights: prepared, options: options)
      return Variant(
        name: name, program: program, nodeCount: graph.nodes.count,
        arenaByteCount: program.arenaColumns * MemoryLayout<Float>.stride)
    }
  }
}
