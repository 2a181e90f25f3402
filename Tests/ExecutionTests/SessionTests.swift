import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct SessionTests {
  static let pool = ThreadPool(threadCount: 2, isPinned: false)

  static func tokens(_ count: Int, seed: UInt64 = 1) -> [Int32] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { _ in Int32.random(in: 0..<Int32(RandomGraph.vocabulary), using: &generator) }
  }

  /// Logits of the rows, in pieces of the lengths given.
  static func logits(_ session: Session, _ tokens: [Int32], pieces: [Int]) throws -> [Float] {
    session.reset()
    var result: [Float] = []
    var start = 0
    for length in pieces {
      let piece = Array(tokens[start..<start + length])
      result += try unsafe session.forward(piece, rows: 0..<length) { unsafe Array($0) }
      start += length
    }
    return result
  }

  /// A graph with attention whose rows can all be asked for.
  static func modelWithAttention(seed: UInt64, fused: Bool = false) throws -> TestModel {
    var random = try RandomGraph(seed: seed, nodeCount: 40)
    var graph = try random.finish(outputCount: 1)
    if fused { _ = try PassPipeline.standard.run(&graph) }
    return TestModel(graph: graph, seed: seed)
  }

  static func isClose(_ found: [Float], _ expected: [Float]) -> Bool {
    let size = (expected.reduce(0) { $0 + $1 * $1 } / Float(max(expected.count, 1))).squareRoot()
    return found.count == expected.count
      && zip(found, expected).allSatisfy { abs($0 - $1) <= 2e-4 * (size + abs($1)) }
  }

  @Test func agreesWithTheInterpreter() throws {
    let tokens = Self.tokens(9)
    var operations: Set<Operation> = []
    for seed: UInt64 in 0..<150 {
      var random = try RandomGraph(
        seed: seed, nodeCount: 3 + Int(seed % 40), floatInputs: [16, 32], longRotations: seed % 2 == 0)
      var model = TestModel(graph: try random.finish(outputCount: 1 + Int(seed % 4)), seed: seed)
      var generator = SeededGenerator(seed: seed)
      let floats = ["x0": generator.normals(9 * 16), "x1": generator.normals(9 * 32)]
      let expected = try model.interpreted(tokens: tokens, floats: floats)
      for fused in [false, true] {
        if fused {
          var graph = model.graph
          _ = try PassPipeline.standard.run(&graph)
          model = TestModel(graph: graph, seed: seed)
        }
        operations.formUnion(model.graph.nodes.map(\.operation))
        let found = try Self.outputs(model, tokens, floats)
        #expect(found.count == expected.count)
        for (index, pair) in zip(found, expected).enumerated() {
          #expect(
            Self.isClose(pair.0, pair.1),
            "seed \(seed), fused \(fused), output \(index)\n\(model.graph.printed())")
        }
      }
    }
    for definition in OperationDefinition.all {
      #expect(operations.contains(definition.operation), "\(definition.operation) was never run")
    }
  }

  /// A gate that is opened by itself is read after its activation was written, so that this must not lie on it.
  @Test func whatIsReadTwiceIsNotOverwritten() throws {
    let tokens = Self.tokens(9)
    for operation: Operation in [.geglu, .swiglu, .multiply, .add] {
      var builder = GraphBuilder(name: "twice")
      let ids = try builder.input("tokens", .tokens)
      let table = try builder.constant("table", ConstantType("f32", [RandomGraph.vocabulary, 16]))
      let x = try builder.add(.embedding, [.value(ids), table], name: "x")
      let product = try builder.add(operation, [.value(x), .value(x)], name: "p")
      let y = try builder.add(.softcap, [.value(product)], attributes: ["cap": 4.0], name: "y")
      let model = TestModel(graph: try builder.finish(outputs: [y]), seed: 5)
      let expected = try model.interpreted(tokens: tokens, floats: [:])
      let session = Session(program: try model.program(), pool: Self.pool)
      let found = try unsafe session.run(tokens: tokens, floats: [:]) { unsafe $0.map { unsafe Array($0) } }
      #expect(Self.isClose(found[0], expected[0]), "\(operation)")
    }
  }

  static func outputs(_ model: TestModel, _ tokens: [Int32], _ floats: [String: [Float]]) throws -> [[Float]]
  {
    let session = Session(program: try model.program(), pool: pool)
    return try unsafe (floats["x0"] ?? []).withUnsafeBufferPointer { x0 in
      try unsafe (floats["x1"] ?? []).withUnsafeBufferPointer { x1 in
        let inputs = unsafe ["x0": x0, "x1": x1]
        return try unsafe session.run(tokens: tokens, floats: inputs) { unsafe $0.map { unsafe Array($0) } }
      }
    }
  }

  @Test func anInputThatIsAnOutputIsHandedOn() throws {
    var builder = GraphBuilder(name: "part")
    let x = try builder.input("x0", .activations(16))
    let y = try builder.add(.silu, [.value(x)], name: "y")
    let model = TestModel(graph: try builder.finish(outputs: [x, y, y, x]))
    var generator = SeededGenerator(seed: 3)
    let values = generator.normals(32)
    let found = try Self.outputs(model, [0, 0], ["x0": values])
    #expect(found[0] == values && found[3] == values)
    #expect(found[1] == found[2] && found[1] != values)
  }

  @Test(arguments: [false, true]) func wholeChunksAndSinglesAreEqualToTheBit(fused: Bool) throws {
    let tokens = Self.tokens(70)
    for seed: UInt64 in 0..<12 {
      let model = try Self.modelWithAttention(seed: seed, fused: fused)
      let whole = Session(program: try model.program(), pool: Self.pool)
      let expected = try Self.logits(whole, tokens, pieces: [70])
      let chunks = Session(program: try model.program(options(chunk: 13)), pool: Self.pool)
      #expect(try Self.logits(chunks, tokens, pieces: [70]) == expected, "seed \(seed), chunks of 13")
      #expect(try Self.logits(whole, tokens, pieces: [1, 40, 29]) == expected, "seed \(seed), pieces")
      #expect(
        try Self.logits(whole, tokens, pieces: .init(repeating: 1, count: 70)) == expected,
        "seed \(seed), singles")
      let single = Session(program: try model.program(), pool: ThreadPool(threadCount: 1, isPinned: false))
      #expect(try Self.logits(single, tokens, pieces: [70]) == expected, "seed \(seed), one thread")
    }
  }

  private func options(chunk: Int) -> ExecutionOptions {
    var options = ExecutionOptions.reference
    options.chunkLength = chunk
    return options
  }

  @Test func anyRowsEqualThoseOfAll() throws {
    let tokens = Self.tokens(41)
    for seed: UInt64 in 0..<8 {
      let model = try Self.modelWithAttention(seed: seed)
      let session = Session(program: try model.program(options(chunk: 16)), pool: Self.pool)
      guard session.program.canSelectRows else { continue }
      let all = try Self.logits(session, tokens, pieces: [41])
      let columns = session.program.outputColumns[0]
      for rows in [0..<1, 40..<41, 15..<17, 3..<38, 7..<7, 16..<32] {
        session.reset()
        let found = try unsafe session.forward(tokens, rows: rows) { unsafe Array($0) }
        #expect(
          found == Array(all[rows.lowerBound * columns..<rows.upperBound * columns]), "seed \(seed), \(rows)")
      }
      session.reset()
      let last = try unsafe session.forward(tokens) { unsafe Array($0) }
      #expect(last == Array(all.suffix(columns)))
    }
  }

  @Test func aTruncatedSessionGoesOnAsIfNothingHadBeen() throws {
    let tokens = Self.tokens(50)
    for seed: UInt64 in 0..<6 {
      let model = try Self.modelWithAttention(seed: seed)
      let session = Session(program: try model.program(), pool: Self.pool)
      let all = try Self.logits(session, tokens, pieces: [50])
      let columns = session.program.outputColumns[0]
      for length in [33, 16, 1, 0] {
        session.truncate(to: length)
        _ = try unsafe session.forward(Self.tokens(20, seed: 9)) { _ in }
        session.truncate(to: length)
        #expect(session.position == length)
        let rest = Array(tokens[length...])
        let found = try unsafe session.forward(rest, rows: rest.indices) { unsafe Array($0) }
        #expect(found == Array(all[(length * columns)...]), "seed \(seed), from \(length)")
      }
      session.truncate(to: 1000)
      #expect(session.position == 50)
      session.truncate(to: -1)
      #expect(session.position == 0)
    }
  }

  @Test func wrongTokensAndRowsAreRefusedAndLeaveTheSessionAsItWas() throws {
    let model = try Self.modelWithAttention(seed: 2)
    let session = Session(program: try model.program(options(chunk: 4)), pool: Self.pool)
    let expected = try Self.logits(session, Self.tokens(12), pieces: [12])
    session.reset()
    for token: Int32 in [-1, Int32(RandomGraph.vocabulary), .max, .min] {
      let error = #expect(throws: ExecutionError.self) {
        try unsafe session.forward([1, 2, 3, 4, 5, 6, token]) { _ in }
      }
      #expect(error?.diagnostic.code == "execution.token")
      #expect(error?.diagnostic.message.contains("position 6") == true)
      #expect(session.position == 0)
    }
    for rows in [0..<13, -1..<2] {
      #expect(throws: ExecutionError.self) {
        try unsafe session.forward(Self.tokens(12), rows: rows) { _ in }
      }
    }
    let nothing = try unsafe session.forward([]) { unsafe Array($0) }
    #expect(nothing.isEmpty)
    #expect(try Self.logits(session, Self.tokens(12), pieces: [12]) == expected)
  }

  @Test func weightsThatDoNotFitTheGraphAreRefused() throws {
    let model = try Self.modelWithAttention(seed: 4)
    let good = try PreparedWeights(graph: model.graph) { .dense(try model.constant($0)) }
    let key = try #require(good.matrices.keys.first)
    let narrow = try PanelMatrix(packing: [
      .dense(Tensor([Float](repeating: 0, count: 48), shape: Shape([3, 16])))
    ])
    var bad = [good, good, good]
    bad[0].matrices[key] = narrow
    bad[1].matrices[key] = nil
    let vector = try #require(good.vectors.keys.first)
    bad[2].vectors[vector]?.append(0)
    for weights in bad {
      #expect(throws: ExecutionError.self) { try Program(graph: model.graph, weights: weights) }
    }
    #expect(throws: ExecutionError.self) {
      try model.graphWithSharedCache().map { try Program(graph: $0, weights: good) }
    }
  }
}

extension TestModel {
  /// The graph with every attention on cache 0; nil when there are fewer than two.
  fileprivate func graphWithSharedCache() throws -> Graph? {
    var graph = graph
    let attentions = graph.nodes.indices.filter { graph.nodes[$0].operation == .attention }
    try #require(attentions.count > 1)
    for index in attentions { graph.nodes[index].attributes["cache"] = 0 }
    return graph
  }
}
