import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Codes that norms make for linear layers: the same bits as when each layer makes its own.
@Suite struct RoundingPlanTests {
  /// Two blocks, the second with attention and feed-forward side by side, so that a norm before the last attention is read
  /// behind it; a router of floats and a scaled product read norms as well.
  static let text = """
    graph @g (tokens: i32[T], positions: i32[T]) {
      constants {
        @e: f32[11, 64] @n: f32[64] @q: int4-g32-sym[64, 64] @k: int4-g32-sym[32, 64] @v: int4-g32-sym[32, 64] @o: int4-g32-sym[64, 64]
        @u: int4-g32-sym[96, 64] @d: int4-g32-sym[64, 96] @r: f32[4, 64] @h: int4-g32-sym[11, 64] @z: f32[64, 4]
      }
      %h0 = embedding %tokens, @e : f32[T, 64]
      %x0 = rms_norm %h0, @n {eps = 1e-05} : f32[T, 64]
      %q0 = linear %x0, @q : f32[T, 64]
      %k0 = linear %x0, @k : f32[T, 32]
      %v0 = linear %x0, @v : f32[T, 32]
      %a0 = attention %q0, %k0, %v0 {heads = 4, kv_heads = 2, head_dim = 16, scale = 0.25, cache = 0} : f32[T, 64]
      %o0 = linear %a0, @o : f32[T, 64]
      %h1 = add %h0, %o0 : f32[T, 64]
      %x1 = rms_norm %h1, @n {eps = 1e-05} : f32[T, 64]
      %q1 = linear %x1, @q : f32[T, 64]
      %k1 = linear %x1, @k : f32[T, 32]
      %v1 = linear %x1, @v : f32[T, 32]
      %a1 = attention %q1, %k1, %v1 {heads = 4, kv_heads = 2, head_dim = 16, scale = 0.25, cache = 1} : f32[T, 64]
      %o1 = linear %a1, @o : f32[T, 64]
      %u1 = linear %x1, @u : f32[T, 96]
      %s1 = silu %u1 : f32[T, 96]
      %d1 = linear %s1, @d : f32[T, 64]
      %r1 = linear %x1, @r : f32[T, 4]
      %z1 = linear %r1, @z : f32[T, 64]
      %b1 = add %o1, %d1 : f32[T, 64]
      %c1 = add %b1, %z1 : f32[T, 64]
      %h2 = add %h1, %c1 : f32[T, 64]
      %x2 = rms_norm %h2, @n {eps = 1e-05} : f32[T, 64]
      %y = linear %x2, @h : f32[T, 11]
      return %y
    }
    """

  /// Weights of two dimensions as codes, those of routers and tables as floats.
  private func program(_ graph: Graph, _ options: ExecutionOptions) throws -> Program {
    let model = TestModel(graph: graph, seed: 9)
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32, isSymmetric: true)
    return try Program(graph: graph, options: options) { name in
      let tensor = try model.constant(name)
      guard graph.constants[name]?.encoding == codec.canonicalName else { return .dense(tensor) }
      let matrix = try FloatMatrix(
        rows: tensor.shape.rows, columns: tensor.shape.columns, values: tensor.floats())
      return .encoded(try codec.encode(matrix, importance: nil, search: .extremes))
    }
  }

  @Test(arguments: [false, true]) func normsMakeCodesWithoutChangingABit(fused: Bool) throws {
    var graph = try Graph(parsing: Self.text)
    if fused { _ = try PassPipeline.standard.run(&graph) }
    let tokens = SessionTests.tokens(40)
    for scheme in [ActivationScheme.int8Block, .int8Token] {
      var options = ExecutionOptions(activations: scheme)
      let with = Session(program: try program(graph, options), pool: SessionTests.pool)
      options.layout.remove(.roundedInputs)
      let without = Session(program: try program(graph, options), pool: SessionTests.pool)
      for rows in [0..<40, 39..<40, 7..<12] {
        with.reset()
        without.reset()
        let found = try unsafe with.forward(tokens, rows: rows) { unsafe Array($0) }
        let expected = try unsafe without.forward(tokens, rows: rows) { unsafe Array($0) }
        #expect(found == expected, "\(scheme), \(rows)")
      }
      let inputs = with.program.roundedInputs
      #expect(inputs.filter { $0.reason == nil }.map(\.site) == ["x0", "x1", "x2"], "\(inputs)")
      #expect(inputs.contains { $0.site == "a0" && $0.reason?.hasPrefix("attention") == true })
      #expect(without.program.roundedInputs.allSatisfy { $0.reason != nil })
    }
  }

  /// FP8 is rounded in the place of the row, where nothing else reads that: a norm with a router behind it stays.
  @Test(arguments: [ActivationScheme.fp8Token, .fp8Group])
  func normsRoundToFloat8(scheme: ActivationScheme) throws {
    let graph = try Graph(parsing: Self.text)
    let model = TestModel(graph: graph, seed: 9)
    let codec = try Float8Codec(.e4m3, granularity: .channel)
    func make(_ options: ExecutionOptions) throws -> Session {
      let program = try Program(graph: graph, options: options) { name in
        let tensor = try model.constant(name)
        guard graph.constants[name]?.encoding == "int4-g32-sym" else { return .dense(tensor) }
        let matrix = try FloatMatrix(
          rows: tensor.shape.rows, columns: tensor.shape.columns, values: tensor.floats())
        return .encoded(try codec.encode(matrix, importance: nil, search: .extremes))
      }
      return Session(program: program, pool: SessionTests.pool)
    }
    var options = ExecutionOptions(activations: scheme)
    let with = try make(options)
    options.layout.remove(.roundedInputs)
    let without = try make(options)
    let tokens = SessionTests.tokens(40)
    for rows in [0..<40, 39..<40, 7..<12] {
      with.reset()
      without.reset()
      let found = try unsafe with.forward(tokens, rows: rows) { unsafe Array($0) }
      #expect(found == (try unsafe without.forward(tokens, rows: rows) { unsafe Array($0) }), "\(rows)")
    }
    let inputs = with.program.roundedInputs
    #expect(inputs.filter { $0.reason == nil }.map(\.site) == ["x0", "x2"], "\(inputs)")
    #expect(inputs.contains { $0.site == "x1" && $0.reason == "something else reads it as it is" })
    #expect(without.program.roundedInputs.allSatisfy { $0.reason != nil })
  }

  /// Inputs as floats, outliers and simulated rounding leave nothing to make.
  @Test func nothingIsPlannedWhereNothingIsRoundedToCodes() throws {
    let graph = try Graph(parsing: Self.text)
    #expect(try program(graph, .reference).roundedInputs.isEmpty)
    var options = ExecutionOptions(activations: .int8Block)
    options.simulatesActivations = true
    #expect(try program(graph, options).roundedInputs.isEmpty)
    let outliers = try program(graph, ExecutionOptions(activations: .int8Outliers)).roundedInputs
    #expect(!outliers.isEmpty && outliers.allSatisfy { $0.reason != nil })
  }
}
