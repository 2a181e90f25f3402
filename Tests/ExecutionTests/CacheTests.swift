import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Caches of layers with windows, tables of positions, and rotations that depend on the length.
@Suite struct CacheTests {
  /// One layer of attention over an embedding of tokens.
  static func model(
    window: Int = 0, rope: OrderedDictionary<String, Attribute> = [:], isLong: Bool = false,
    positionRows: Int? = nil
  ) throws -> TestModel {
    var builder = GraphBuilder(name: "cache")
    let tokens = try builder.input("tokens", .tokens)
    let positions = try builder.input("positions", .tokens)
    func constant(_ name: String, _ shape: [Int]) throws -> Operand {
      try builder.constant(name, ConstantType("f32", shape))
    }
    let table = try constant("table", [11, 16])
    var x = try builder.add(.embedding, [.value(tokens), table], name: "x")
    if let positionRows {
      let learned = try constant("learned", [positionRows, 16])
      let place = try builder.add(.embedding, [.value(positions), learned], name: "place")
      x = try builder.add(.add, [.value(x), .value(place)], name: "sum")
    }
    var attributes: OrderedDictionary<String, Attribute> = ["heads": 2, "head_dim": 8]
    attributes.merge(rope) { $1 }
    let long = isLong ? [try constant("slow", [4])] : []
    let turned = try builder.add(
      .rope, [.value(x), .value(positions), try constant("frequencies", [4])] + long,
      attributes: attributes, name: "turned")
    let attended = try builder.add(
      .attention, [.value(turned), .value(turned), .value(x)],
      attributes: [
        "heads": 2, "kv_heads": 2, "head_dim": 8, "scale": 2.0, "window": .int(window), "cache": 0,
      ], name: "attended")
    let head = try constant("head", [11, 16])
    let logits = try builder.add(.linear, [.value(attended), head], name: "logits")
    return TestModel(graph: try builder.finish(outputs: [logits]))
  }

  static func options(chunk: Int) -> ExecutionOptions {
    var options = ExecutionOptions.reference
    options.chunkLength = chunk
    return options
  }

  static let pool = ThreadPool(threadCount: 2, isPinned: false)

  @Test func aWindowKeepsFewPagesAndTheSameResults() throws {
    let tokens = SessionTests.tokens(1500)
    let model = try Self.model(window: 40)
    let expected = try model.interpreted(tokens: tokens)[0]
    let session = Session(program: try model.program(Self.options(chunk: 64)), pool: Self.pool)
    let whole = try SessionTests.logits(session, tokens, pieces: [1500])
    #expect(SessionTests.isClose(whole, expected))
    let full = Session(program: try Self.model().program(Self.options(chunk: 64)), pool: Self.pool)
    _ = try SessionTests.logits(full, tokens, pieces: [1500])
    #expect(full.cacheByteCount == 3 * session.cacheByteCount, "six pages and two")
    let pieces = [700, 1, 1, 298, 500]
    #expect(try SessionTests.logits(session, tokens, pieces: pieces) == whole)
    let single = Session(program: try model.program(), pool: ThreadPool(threadCount: 1, isPinned: false))
    #expect(try SessionTests.logits(single, tokens, pieces: [1500]) == whole)
  }

  /// What a window has forgotten is computed again.
  @Test func aTruncatedWindowGoesOnAsIfNothingHadBeen() throws {
    let tokens = SessionTests.tokens(1000)
    let session = Session(
      program: try Self.model(window: 30).program(Self.options(chunk: 50)), pool: Self.pool)
    let all = try SessionTests.logits(session, tokens, pieces: [1000])
    for length in [990, 600, 301, 7, 0] {
      session.truncate(to: length)
      #expect(session.position == length)
      let rest = Array(tokens[length...])
      let found = try unsafe session.forward(rest, rows: rest.indices) { unsafe Array($0) }
      #expect(found == Array(all[(length * 11)...]), "from \(length)")
    }
  }

  @Test func aTableOfPositionsLimitsTheSequence() throws {
    let session = Session(program: try Self.model(positionRows: 20).program(), pool: Self.pool)
    #expect(session.program.vocabularyCount == 11 && session.program.positionCount == 20)
    _ = try unsafe session.forward(SessionTests.tokens(20)) { _ in }
    let error = #expect(throws: ExecutionError.self) { try unsafe session.forward([1]) { _ in } }
    #expect(error?.diagnostic.subject == "positions")
    #expect(session.position == 20)
  }

  /// Rows made after the length was passed are those of the whole sequence, in whatever pieces the tokens came.
  @Test func longRotationsApplyToEverything() throws {
    let tokens = SessionTests.tokens(60)
    let model = try Self.model(rope: ["context": 32], isLong: true)
    let expected = try model.interpreted(tokens: tokens)[0]
    let session = Session(program: try model.program(Self.options(chunk: 16)), pool: Self.pool)
    let whole = try SessionTests.logits(session, tokens, pieces: [60])
    #expect(SessionTests.isClose(whole, expected))
    let pieces = try SessionTests.logits(session, tokens, pieces: [20, 12, 5, 1, 22])
    #expect(Array(pieces[(32 * 11)...]) == Array(whole[(32 * 11)...]))
    #expect(pieces[..<(32 * 11)] != whole[..<(32 * 11)])
    let short = try model.interpreted(tokens: Array(tokens[..<32]))[0]
    #expect(SessionTests.isClose(Array(pieces[..<(32 * 11)]), short))
    session.truncate(to: 10)
    let again = try unsafe session.forward(Array(tokens[10..<32]), rows: 0..<22) { unsafe Array($0) }
    #expect(SessionTests.isClose(again, Array(short[(10 * 11)...])))
  }

  @Test func growingRotationsFollowTheLength() throws {
    let tokens = SessionTests.tokens(60)
    let model = try Self.model(rope: ["context": 32, "growth": 3.0, "theta": 50.0])
    let session = Session(program: try model.program(Self.options(chunk: 16)), pool: Self.pool)
    let expected = try model.interpreted(tokens: tokens)[0]
    #expect(SessionTests.isClose(try SessionTests.logits(session, tokens, pieces: [60]), expected))
  }
}
