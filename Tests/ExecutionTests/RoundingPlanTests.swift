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

  /// Numbers at the threshold are counted as often as a layer reads them, whatever pieces the text comes in.
  @Test func outliersAreCounted() throws {
    let graph = try Graph(
      parsing: """
        graph @g (tokens: i32[T], positions: i32[T]) {
          constants { @e: f32[11, 64] @a: int4-g32-sym[64, 64] @b: int4-g32-sym[64, 64] @r: f32[64, 64] @h: int4-g32-sym[11, 64] }
          %x = embedding %tokens, @e : f32[T, 64]
          %p = linear %x, @a : f32[T, 64]
          %q = linear %x, @b : f32[T, 64]
          %r = linear %x, @r : f32[T, 64]
          %s = add %p, %q : f32[T, 64]
          %t = add %s, %r : f32[T, 64]
          %y = linear %t, @h : f32[T, 11]
          return %y
        }
        """)
    let tokens = SessionTests.tokens(30)
    let table = try TestModel(graph: graph, seed: 9).constant("e").floats()
    let threshold: Float = 0.25
    let rows = tokens.map { Array(table[Int($0) * 64..<(Int($0) + 1) * 64]) }
    let inputs = rows.joined().count { $0.magnitude >= threshold }
    #expect(inputs > 30)
    // The router's floats are none; what the head reads is made of codes.
    let whole = try outliers(graph, .outliers(from: threshold), [tokens])
    #expect(whole.all == tokens.count * 64 * 3 && whole.found >= 2 * inputs)
    let first = try outliers(graph, .outliers(from: 1e6), [tokens])
    #expect(first.all == whole.all && first.found == 0)
    let every = try outliers(graph, .outliers(from: 1e-30), [tokens])
    #expect(every.found == every.all)
    let pieces = try outliers(graph, .outliers(from: threshold), [Array(tokens[..<7]), Array(tokens[7...])])
    #expect(pieces == whole)
    let none = try outliers(graph, .int8Token, [tokens])
    #expect(none == (0, 0))
  }

  /// What a session counts while it runs a text in pieces.
  private func outliers(
    _ graph: Graph, _ scheme: ActivationScheme, _ pieces: [[Int32]]
  ) throws -> (found: Int, all: Int) {
    let session = Session(
      program: try program(graph, ExecutionOptions(activations: scheme)), pool: SessionTests.pool)
    for piece in pieces {
      try unsafe session.forward(piece, rows: 0..<piece.count) { _ in }
    }
    return session.outliers
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
