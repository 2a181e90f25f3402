import Architectures
import Execution
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
    #expect(Set(fired.map(\.report.pass)).isSuperset(of: ["fuse-swiglu", "fuse-linear-gated"]))
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

  /// Folding passes change weights: the proof and the packed file use the changed ones.
  @Test func foldedWeightsAreProvedAndPacked() throws {
    let model = try TestModels.acorn()
    let subject = OptimizationSubject(model)
    let passes: [any GraphPass] = [FoldNormGains()] + PassPipeline.standard.passes
    let stage = OptimizationStage(
      PassPipeline(passes), proof: try GraphProof(subject, pool: TestModels.pool))
    let result = try stage.run(subject)
    let difference = try #require(result.difference)
    #expect(!difference.isExact && difference.keeps(.close), "\(difference)")
    #expect(result.steps[0].report.firedCount == 2 * model.summary.sizes.layerCount)
    var pack = try PackStage(model, options: PackOptions())
    pack.passes = PassPipeline(passes)
    let path = directory.file("folded.adze")
    _ = try pack.write(to: path)
    let tokens: [Int32] = [0, 5, 9, 200, 77]
    func logits(_ model: LoadedModel) throws -> [Float] {
      let session = Session(
        program: try LanguageModel(model, options: .reference).program, pool: TestModels.pool)
      return try unsafe session.forward(tokens, rows: 0..<5) { unsafe Array($0) }
    }
    let found = GraphProof.difference([try logits(ModelFormats.load(path))], [try logits(model)])
    #expect(found.keeps(.close), "\(found)")
  }

  /// Every layout gives the same bits, whatever rows are asked for; less layout needs more memory.
  @Test func variantsOfAnAblationComputeTheSame() throws {
    let ablation = try Ablation(try TestModels.acorn(), options: .reference)
    #expect(ablation.variants.first?.name == "all" && ablation.variants.last?.name == "without any")
    let tokens = (0..<40).map { Int32($0 * 13 % 300) }
    var expected: [[Float]] = []
    for variant in ablation.variants {
      let session = Session(program: variant.program, pool: TestModels.pool)
      var found: [[Float]] = []
      for rows in [39..<40, 3..<7, 0..<40, 38..<40] {
        session.reset()
        found.append(try unsafe session.forward(tokens, rows: rows) { unsafe Array($0) })
      }
      session.truncate(to: 30)
      found.append(try unsafe session.forward(Array(tokens[30...])) { unsafe Array($0) })
      if expected.isEmpty { expected = found }
      #expect(found == expected, "\(variant.name)")
    }
    let arenas = Dictionary(uniqueKeysWithValues: ablation.variants.map { ($0.name, $0.arenaByteCount) })
    #expect(2 * (arenas["all"] ?? 0) <= arenas["without any"] ?? 0)
    #expect(arenas["all"] ?? 0 < arenas["without in-place"] ?? 0)
    #expect(ablation.idlePasses.contains("fuse-geglu"))
  }

  /// A machine that becomes twice as slow in the middle of a round changes no ratio; what one variant alone meets does.
  @Test func ratiosAreThoseOfOneTurn() {
    let reference = [[1.0, 2, 4], [1, 1, 1], [8, 8, 8]]
    let fast = PairedRatio(reference.map { $0.map { $0 / 1.25 } }, to: reference)
    #expect(fast.median == 1.25 && fast.range == 1.25...1.25)
    let disturbed = PairedRatio([[0.5, 1, 100], [0.25, 0.25, 0.25], [8, 8, 8]], to: reference)
    #expect(disturbed.median == 2 && disturbed.range == 1...4)
    #expect(PairedRatio([[0, 2]], to: [[1, 4]]).median == 2, "a turn without a time says nothing")
    #expect(PairedRatio([], to: reference).median == 0)
    #expect(PairedRatio([[]], to: [[]]) == PairedRatio([], to: []))
    #expect(PairedRatio.median([3, 1, 2, 10]) == 2.5)
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
