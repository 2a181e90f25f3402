import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections

/// Programs of one model with all passes and all of the planner's layout, without each of them, and without any: all by the
/// same kernels, over shared weights but for variants in which matrices lie apart.
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
    let arena = WeightArena()
    let packing: PreparedWeights.MatrixPacking = options.activations == .float32 ? .exactPanels : .panels
    func graph(_ pipeline: PassPipeline) throws -> (Graph, [PassReport]) {
      var graph = model.graph
      let reports = try pipeline.run(&graph)
      try prepared.add(graph: graph, weight: weight, matrices: packing, arena: arena, compacts: true)
      return (graph, reports)
    }
    func weight(_ name: String) throws -> Weight { try FoldedConstants().weight(name, weights) }
    let (best, reports) = try graph(.standard)
    let fired = Set(reports.filter(\.changed).map(\.pass))
    var names: [String] = []
    for pass in PassPipeline.standard.passes where !names.contains(pass.name) { names.append(pass.name) }
    var plans = [Plan(name: "all", graph: best, layout: .all)]
    for name in names where fired.contains(name) {
      let rest = PassPipeline(PassPipeline.standard.passes.filter { $0.name != name })
      plans.append(Plan(name: "without " + name, graph: try graph(rest).0, layout: .all))
    }
    for (name, part) in LayoutOptions.named {
      plans.append(Plan(name: "without " + name, graph: best, layout: LayoutOptions.all.subtracting(part)))
    }
    let textbook = try graph(PassPipeline([])).0
    plans.append(Plan(name: "without passes", graph: textbook, layout: .all))
    plans.append(Plan(name: "without any", graph: textbook, layout: []))
    idlePasses = names.filter { !fired.contains($0) }
    variants = try plans.map { plan in
      var options = options
      options.layout = plan.layout
      // Matrices that are prepared otherwise are those of one variant.
      let weights =
        plan.layout.isSuperset(of: [.weightArena, .compactWeights])
        ? prepared
        : try PreparedWeights(
          graph: plan.graph, weight: weight, matrices: packing,
          arena: plan.layout.contains(.weightArena) ? WeightArena() : nil,
          compacts: plan.layout.contains(.compactWeights))
      let program = try Program(graph: plan.graph, weights: weights, options: options)
      return Variant(
        name: plan.name, program: program, nodeCount: plan.graph.nodes.count,
        arenaByteCount: program.arenaColumns * MemoryLayout<Float>.stride)
    }
  }

  private struct Plan {
    let name: String
    let graph: Graph
    let layout: LayoutOptions
  }
}
