import GraphIR
import TensorCore

/// Passes in the order in which they run.
public struct PassPipeline: Sendable {
  /// Watches a pipeline at work, for printing and drawing.
  public struct Instrument: Sendable {
    /// Called after each pass, with the graph that it left.
    public var afterPass: @Sendable (PassReport, Graph) -> Void

    /// An instrument.
    public init(afterPass: @escaping @Sendable (PassReport, Graph) -> Void) { self.afterPass = afterPass }

    /// Prints the graph after every pass, or only after those that changed it.
    public static func printing(
      onlyChanges: Bool, to write: @escaping @Sendable (String) -> Void
    ) -> Instrument {
      Instrument { report, graph in
        guard report.changed || !onlyChanges else { return }
        write("// after \(report.pass): \(report.firedCount) rewrites\n" + graph.printed())
      }
    }
  }

  /// The passes.
  public var passes: [any GraphPass]

  /// A pipeline of passes.
  public init(_ passes: [any GraphPass]) { self.passes = passes }

  /// A pipeline of passes by their names.
  /// - Throws: ``GraphPassError/unknownPass(_:)``.
  public init(names: [String]) throws(GraphPassError) {
    var passes: [any GraphPass] = []
    for name in names {
      guard let pass = PassRegistry.pass(named: name) else { throw .unknownPass(name) }
      passes.append(pass)
    }
    self.passes = passes
  }

  /// The passes up to and with the first one of this name.
  /// - Throws: ``GraphPassError/unknownPass(_:)`` when there is none in this pipeline.
  public func stopping(after name: String) throws(GraphPassError) -> PassPipeline {
    guard let last = passes.firstIndex(where: { $0.name == name }) else { throw .unknownPass(name) }
    return PassPipeline(Array(passes[...last]))
  }

  /// What turns a textbook graph into one that runs well.
  public static let standard = PassPipeline([
    RemoveDeadCode(), SimplifyAlgebra(), EliminateCommonSubexpressions(), FuseSwiGLU(), FuseGEGLU(),
    FuseLimitedGLU(), FuseExpertGates(), FuseLinearGated(), FuseParallelProjections(), FuseRotaryAttention(),
    FuseLinearActivation(), FuseAddRMSNorm(), FuseAddLayerNorm(), RemoveDeadCode(),
  ])

  /// Verifies the graph, runs every pass and verifies after each.
  /// - Throws: ``GraphPassError``: a pass that leaves a graph which is not valid is a mistake of Adze.
  public func run(_ graph: inout Graph, instruments: [Instrument] = []) throws(GraphPassError) -> [PassReport]
  {
    do throws(GraphError) { try graph.verify() } catch { throw .invalidInput(error) }
    var reports: [PassReport] = []
    for pass in passes {
      let report = try Self.apply(pass, to: &graph)
      for instrument in instruments { instrument.afterPass(report, graph) }
      reports.append(report)
    }
    return reports
  }
}

extension PassPipeline {
  /// Runs one pass over a graph that is valid, and verifies what it leaves.
  /// - Throws: ``GraphPassError``.
  public static func apply(_ pass: any GraphPass, to graph: inout Graph) throws(GraphPassError) -> PassReport
  {
    let interface = GraphInterface(graph)
    let before = graph
    let report: PassReport
    do throws(GraphError) { report = try pass.run(&graph) } catch { throw .passFailed(pass.name, error) }
    guard report.changed else {
      guard graph.isUnchanged(since: before) else {
        throw .verificationFailed(pass.name, .graph("the pass changed the graph and says that it did not"))
      }
      return report
    }
    do throws(GraphError) { try graph.verify() } catch { throw .verificationFailed(pass.name, error) }
    guard GraphInterface(graph) == interface else {
      throw .verificationFailed(pass.name, .graph("the pass changed the graph's inputs or outputs"))
    }
    return report
  }
}

/// What a graph looks like from outside.
private struct GraphInterface: Equatable {
  let values: [String]

  init(_ graph: Graph) {
    values = (graph.inputs + graph.outputs).map { "\(graph.name(of: $0)): \(graph.type(of: $0))" }
  }
}

/// All passes.
public enum PassRegistry {
  /// The passes, in the order of the documentation.
  public static let all: [any GraphPass.Type] = [
    RemoveDeadCode.self, SimplifyAlgebra.self, EliminateCommonSubexpressions.self, FuseSwiGLU.self,
    FuseGEGLU.self, FuseLimitedGLU.self, FuseExpertGates.self, FuseLinearGated.self,
    FuseParallelProjections.self, FuseRotaryAttention.self, FuseLinearActivation.self, FuseAddRMSNorm.self,
    FuseAddLayerNorm.self, FoldNormGains.self, FoldScales.self,
    FoldConsecutiveProjections.self,
  ]

  /// The pass with this name.
  public static func pass(named name: String) -> (any GraphPass)? {
    all.first { $0.name == name }.map { $0.init() }
  }
}

/// Why passes could not be run.
public enum GraphPassError: DiagnosableError, Equatable {
  /// There is no pass of this name.
  case unknownPass(String)
  /// The graph was not valid before the first pass.
  case invalidInput(GraphError)
  /// A pass could not edit the graph as it meant to.
  case passFailed(String, GraphError)
  /// A pass left a graph that is not valid.
  case verificationFailed(String, GraphError)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .unknownPass(let name):
      Diagnostic(
        code: "passes.unknown", status: .usage, message: "there is no such pass", subject: name,
        expected: "one of " + PassRegistry.all.map { $0.name }.joined(separator: ", "))
    case .invalidInput(let error): error.diagnostic
    case .passFailed(let pass, let error):
      Diagnostic(
        code: "passes.failed", status: .bug, message: "the pass failed", subject: pass,
        found: error.description)
    case .verificationFailed(let pass, let error):
      Diagnostic(
        code: "passes.verification", status: .bug, message: "the pass left a graph that is not valid",
        subject: pass,
        found: error.description)
    }
  }
}
