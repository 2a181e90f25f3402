import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import SafeIO
import TensorCore

/// Runs passes over a graph one by one, measures what each of them saves and, when asked to, proves that it changes nothing.
public struct OptimizationStage {
  /// One pass at work.
  public struct Step: Sendable {
    /// What it did.
    public let report: PassReport
    /// How near results must stay.
    public let promise: PassPromise
    /// The graph that it left.
    public let after: GraphMeasure
    /// Seconds that it took, verification included.
    public let seconds: Double
    /// How far results lie from those before it; nil without proof, or when it changed nothing.
    public let difference: GraphProof.Difference?
  }

  /// What came of it.
  public struct Result: Sendable {
    /// The graph before.
    public let before: GraphMeasure
    /// The passes in order.
    public let steps: [Step]
    /// The graph after.
    public let graph: Graph
    /// Constants that passes made.
    public let folds: FoldedConstants
    /// Outputs of the last graph against those of the first; nil without proof.
    public let difference: GraphProof.Difference?

    /// The last graph's measure.
    public var after: GraphMeasure { steps.last?.after ?? before }
    /// Seconds of all passes.
    public var seconds: Double { steps.reduce(0) { $0 + $1.seconds } }
  }

  /// The passes.
  public var pipeline: PassPipeline
  /// Runs the graph before and after every pass that changes it; nil for no proof.
  public var proof: GraphProof?
  /// Where a graph is written that a pass could not deal with.
  public var reproducer: String

  /// A stage.
  public init(
    _ pipeline: PassPipeline = .standard, proof: GraphProof? = nil,
    reproducer: String = "adze-reproducer.ir"
  ) {
    self.pipeline = pipeline
    self.proof = proof
    self.reproducer = reproducer
  }

  /// Runs the passes.
  /// - Parameter observe: Called after each pass with the graph that it left.
  /// - Throws: `GraphPassError` for a graph that is not valid; ``PipelineError/failedPass(_:problem:reproducer:)`` when a pass
  ///   leaves such a graph or other results than it promises, after the graph before it was written to ``reproducer``.
  public func run(
    _ subject: OptimizationSubject, observe: (Step, Graph) throws -> Void = { _, _ in }
  ) throws -> Result {
    var graph = subject.graph
    _ = try PassPipeline([]).run(&graph)
    let original = try proof?.outputs(of: graph)
    var latest = original
    var steps: [Step] = []
    var folds = FoldedConstants()
    let before = GraphMeasure(graph)
    for pass in pipeline.passes {
      let unchanged = graph
      let start = ContinuousClock.now
      let report: PassReport
      do {
        report = try PassPipeline.apply(pass, to: &graph)
      } catch {
        throw try failure(pass, error.diagnostic.found ?? error.diagnostic.message, unchanged)
      }
      folds.add(report)
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      var difference: GraphProof.Difference?
      if let proof, report.changed, let expected = latest {
        let found = try proof.outputs(of: graph, folds: folds)
        let result = GraphProof.difference(found, expected)
        guard result.keeps(pass.promise) else {
          throw try failure(pass, Self.text(result, pass.promise), unchanged)
        }
        (latest, difference) = (found, result)
      }
      let after = report.changed ? GraphMeasure(graph) : steps.last?.after ?? before
      let step = Step(
        report: report, promise: pass.promise, after: after, seconds: seconds, difference: difference)
      steps.append(step)
      try observe(step, graph)
    }
    let whole = original.flatMap { first in latest.map { GraphProof.difference($0, first) } }
    return Result(before: before, steps: steps, graph: graph, folds: folds, difference: whole)
  }

  private static func text(_ difference: GraphProof.Difference, _ promise: PassPromise) -> String {
    let bound = promise == .exact ? "the same bits" : "at most \(promise.bound)"
    return "results differ by \(difference.deviations) standard deviations where it promises \(bound)"
  }

  /// Writes the graph before a pass that failed, and says where.
  private func failure(_ pass: any GraphPass, _ problem: String, _ graph: Graph) throws -> PipelineError {
    let head =
      "// adze optimize THIS_FILE --passes \(pass.name)\(proof == nil ? "" : " --prove")\n// \(problem)\n"
    try AtomicFile.write(Array((head + graph.printed()).utf8), to: reproducer)
    return .failedPass(pass.name, problem: problem, reproducer: reproducer)
  }
}

extension OptimizationStage.Result {
  /// The last graph made ready to run, for what the planner says of it; nil for a graph without weights.
  /// - Throws: `ExecutionError`, `KernelsError`.
  public func program(
    _ subject: OptimizationSubject, options: ExecutionOptions = .init()
  ) throws -> Program? {
    guard let model = subject.model else { return nil }
    if case .packed(let prepared, _) = model.content {
      return try Program(graph: model.graph, weights: prepared, options: options)
    }
    let weights = try model.requireCheckpoint()
    let isApart = PreparedWeights.disagreements(in: graph, model.activations).isEmpty
    return try Program(graph: graph, options: options, activations: isApart ? model.activations : [:]) {
      try folds.weight($0, weights)
    }
  }
}
