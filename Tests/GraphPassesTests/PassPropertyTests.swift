import GraphIR
import GraphPasses
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct PassPropertyTests {
  /// Every pass alone, and the standard pipeline, leave random graphs equal (to the bit, or as near as they promise), valid
  /// and printable.
  @Test func randomGraphsComputeTheSame() throws {
    var fired: [String: Int] = [:]
    var laws: [String: Int] = [:]
    for seed: UInt64 in 0..<300 {
      var random = try RandomGraph(seed: seed, nodeCount: 6 + Int(seed % 40))
      let graph = try random.finish()
      let values = try Evaluation.values(of: graph, seed: seed)
      let expected = try Evaluation.outputs(of: graph, seed: seed)
      #expect(try Graph(parsing: graph.printed()) == graph, "seed \(seed)")
      let pipelines = PassRegistry.all.map { PassPipeline([$0.init()]) } + [.standard]
      for pipeline in pipelines {
        var rewritten = graph
        let reports = try pipeline.run(&rewritten)
        let name = pipeline.passes.map(\.name).joined(separator: ",")
        if pipeline.passes.allSatisfy({ $0.promise == .exact }) {
          #expect(try Evaluation.outputs(of: rewritten, seed: seed) == expected, "seed \(seed), \(name)")
        } else {
          var folds = FoldedConstants()
          for report in reports { folds.add(report) }
          let found = try Evaluation.values(of: rewritten, seed: seed, folds: folds, original: graph)
          let deviation = Evaluation.deviation(found, values)
          // Random graphs amplify the rounding of one operation in those that follow, where models do not.
          #expect(deviation <= 100 * PassPromise.tolerance, "seed \(seed), \(name): \(deviation)")
        }
        #expect(try Graph(parsing: rewritten.printed()) == rewritten, "seed \(seed), \(name)")
        if reports.count == 1 {
          let isOther = rewritten != graph
          #expect(reports[0].changed == isOther, "seed \(seed), \(name)")
          var again = rewritten
          #expect(try pipeline.run(&again)[0].changed == false, "seed \(seed), \(name)")
        }
        for report in reports {
          fired[report.pass, default: 0] += report.firedCount
          for law in report.laws { laws[law.name, default: 0] += law.count }
        }
      }
    }
    for pass in PassRegistry.all {
      #expect(fired[pass.name, default: 0] > 20, "\(pass.name) hardly ever fired")
    }
    #expect(Set(laws.keys) == Set(SimplifyAlgebra.laws), "laws without a name, or that never applied")
    for law in SimplifyAlgebra.laws { #expect(laws[law, default: 0] > 5, "\(law): hardly ever applied") }
  }

  @Test func instrumentsSeeEveryPass() throws {
    let texts = Collector()
    var graph = try Graph(parsing: "graph @g (x: f32[T, 4]) { %y = silu %x : f32[T, 4] return %y }")
    let reports = try PassPipeline.standard.run(
      &graph,
      instruments: [
        .printing(onlyChanges: true) { texts.append($0) }, .init { report, _ in texts.append(report.pass) },
      ])
    #expect(texts.all == reports.map(\.pass))
  }

  @Test func unknownPassesAndBadGraphsAreRefused() throws {
    #expect(throws: GraphPassError.unknownPass("x")) { try PassPipeline(names: ["x"]) }
    #expect(try PassPipeline(names: PassRegistry.all.map { $0.name }).passes.count == PassRegistry.all.count)
    var empty = Graph(name: "g")
    #expect(throws: GraphPassError.self) { try PassPipeline.standard.run(&empty) }
  }

  @Test func aPassThatBreaksTheGraphIsCaught() throws {
    var graph = try Graph(parsing: "graph @g (x: f32[T, 4]) { %y = silu %x : f32[T, 4] return %y }")
    for pass: any GraphPass in [DropEverything(), RenameOutput()] {
      var copy = graph
      let error = #expect(throws: GraphPassError.self) { try PassPipeline([pass]).run(&copy) }
      #expect(error?.diagnostic.status == .bug)
    }
    graph.outputs = []
  }

  private struct DropEverything: GraphPass {
    static let name = "drop-everything"
    static let summary = "Breaks the graph."
    func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
      graph.removeNodes(at: Set(graph.nodes.indices))
      return PassReport(pass: Self.name)
    }
  }

  private struct RenameOutput: GraphPass {
    static let name = "rename-output"
    static let summary = "Changes the interface."
    func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
      try graph.rename(graph.outputs[0], to: "z")
      return PassReport(pass: Self.name)
    }
  }
}

/// Gathers texts from an instrument.
final class Collector: @unchecked Sendable {
  private(set) var all: [String] = []
  func append(_ text: String) { all.append(text) }
}
