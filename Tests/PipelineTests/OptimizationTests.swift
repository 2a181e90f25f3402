import GraphIR
import GraphPasses
import OrderedCollections
import Pipeline
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite struct OptimizationTests {
  let directory = TemporaryDirectory()

  private static let text = """
    // a graph of its own
    graph @g (x: f32[T, 8]) {
      constants { @a: f32[16, 8] @b: f32[16, 8] @c: f32[8, 16] }
      layers.0 {
        %g0 = linear %x, @a : f32[T, 16]
        %u0 = linear %x, @b : f32[T, 16]
        %s0 = silu %g0 : f32[T, 16]
        %p0 = multiply %s0, %u0 : f32[T, 16]
        %d0 = linear %p0, @c : f32[T, 8]
      }
      return %d0
    }
    """

  private func subject() throws -> OptimizationSubject {
    let path = directory.file("graph.txt")
    try AtomicFile.write(Array(Self.text.utf8), to: path)
    return try OptimizationSubject.open(path)
  }

  @Test func aGraphOfItsOwnIsOptimizedAndProved() throws {
    let subject = try subject()
    #expect(subject.model == nil && subject.name == "g")
    let proof = try GraphProof(subject, pool: TestModels.pool)
    var seen: [String] = []
    let result = try OptimizationStage(proof: proof).run(subject) { step, graph in
      seen.append(step.report.pass)
      #expect(step.after == GraphMeasure(graph))
    }
    #expect(seen == PassPipeline.standard.passes.map(\.name))
    #expect(result.difference?.isExact == true)
    #expect(result.before.constantByteCount == 3 * 16 * 8 * 4)
    #expect(result.after.movedByteCount < result.before.movedByteCount)
    let fired = result.steps.filter { $0.report.changed }
    #expect(fired.allSatisfy { $0.difference?.isExact == true })
    #expect(Set(fired.map(\.report.pass)).isSuperset(of: ["fuse-swiglu", "fuse-parallel-projections"]))
    #expect(result.json["passes"]?.arrayValue?.count == seen.count)
  }

  @Test func aModelIsProvedWithItsWeights() throws {
    let subject = OptimizationSubject(try TestModels.acorn())
    let proof = try GraphProof(subject, pool: TestModels.pool)
    let result = try OptimizationStage(proof: proof).run(subject)
    #expect(result.difference?.isExact == true)
    #expect(result.after.nodeCount < result.before.nodeCount)
  }

  /// A pass that breaks the graph, one that changes its results, and one that says it promises less.
  @Test func passesThatFailLeaveAReproducer() throws {
    let subject = try subject()
    let file = directory.file("reproducer.ir")
    for pass: any GraphPass in [DropEverything(), DoubleScale()] {
      let proof = try GraphProof(subject, pool: TestModels.pool)
      let stage = OptimizationStage(
        PassPipeline([FuseSwiGLU(), pass]), proof: proof, reproducer: file)
      let error = #expect(throws: PipelineError.self) { try stage.run(subject) }
      #expect(error?.diagnostic.status == .bug && error?.diagnostic.subject == pass.name)
      let text = String(decoding: try FileReading.readAll(file, limit: 1 << 20), as: UTF8.self)
      #expect(text.hasPrefix("// adze optimize THIS_FILE --passes \(pass.name)"))
      // The graph before the pass, after the ones before it.
      var expected = subject.graph
      _ = try FuseSwiGLU().run(&expected)
      #expect(try OptimizationSubject.open(file).graph == expected)
    }
    let unproved = OptimizationStage(PassPipeline([DoubleScale()]), reproducer: file)
    #expect(try unproved.run(subject).steps[0].report.changed)
  }

  @Test func differencesAreMeasuredInDeviations() {
    let same = GraphProof.difference([[1, -1, .nan]], [[1, -1, .nan]])
    #expect(same.isExact && same.keeps(.exact))
    let near = GraphProof.difference([[1, -1.000001]], [[1, -1]])
    #expect(!near.isExact && !near.keeps(.exact) && near.keeps(.close) && near.deviations > 5e-7)
    #expect(!GraphProof.difference([[1, -1.001]], [[1, -1]]).keeps(.close))
    #expect(!GraphProof.difference([[1, .nan]], [[1, -1]]).keeps(.close))
    #expect(!GraphProof.difference([[1]], [[1, -1]]).keeps(.close))
    #expect(!GraphProof.difference([[2, 2]], [[1, 1]]).keeps(.close))
  }

  @Test func sitesAreSaidShortly() {
    #expect(SiteList.text(["q0, k0", "g0", "q1, k1", "g1", "q2, k2"]) == "q*, k* for 0-2; g* for 0-1")
    #expect(SiteList.text(["h3", "logits", "a1b2"]) == "h3; logits; a1b2")
    #expect(SiteList.text(["h1", "h2", "h9"]) == "h* for 1-2, 9")
    #expect(SiteList.text([]) == "")
  }

  private struct DropEverything: GraphPass {
    static let name = "drop-everything"
    static let summary = "Breaks the graph."
    func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
      graph.removeNodes(at: Set(graph.nodes.indices))
      return PassReport(pass: Self.name)
    }
  }

  /// Changes results, and is honest about having changed the graph.
  private struct DoubleScale: GraphPass {
    static let name = "double-scale"
    static let summary = "Lies."
    func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
      var report = PassReport(pass: Self.name)
      let input = graph.inputs[0]
      let scaled = try graph.insert(.scale, [.value(input)], attributes: ["factor": 2.0], at: 0)[0]
      for index in graph.nodes.indices.dropFirst() {
        graph.nodes[index].operands = graph.nodes[index].operands.map {
          $0 == .value(input) ? .value(scaled) : $0
        }
      }
      report.fired(at: graph.name(of: scaled))
      return report
    }
  }
}
