import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Caches that are kept small while a session runs.
@Suite struct EvictionTests {
  static let pool = ThreadPool(threadCount: 2, isPinned: false)

  static func session(
    _ model: TestModel, _ policy: (any CachePolicy)?, _ format: KVFormat = .f32, chunk: Int = 64
  ) throws -> Session {
    var options = ExecutionOptions(activations: .float32, cache: format, chunkLength: chunk)
    options.cachePolicy = policy
    return Session(program: try model.program(options), pool: pool)
  }

  static func last(_ session: Session, _ tokens: [Int32]) throws -> [Float] {
    try unsafe session.forward(tokens) { unsafe Array($0) }
  }

  /// In a model of one layer keys and values are of their token alone: what is left of a long text is a short text, with
  /// positions that are counted in the cache.
  @Test(arguments: [false, true]) func streamingIsTheShortText(interleaved: Bool) throws {
    let tokens = SessionTests.tokens(500)
    let model = try CacheTests.model(rope: ["interleaved": .bool(interleaved)])
    let session = try Self.session(model, StreamingPolicy(sinks: 3, capacity: 40))
    var fed = 0
    for piece in [30, 1, 1, 120, 1, 9, 200, 1, 1] {
      let found = try Self.last(session, Array(tokens[fed..<fed + piece]))
      fed += piece
      let held = fed - session.evictedCount
      #expect(held <= 40 && (fed <= 40 || held > 40 - 10))
      let left = Array(tokens[..<min(3, held)]) + tokens[fed - max(held - 3, 0)..<fed]
      let expected = try Self.last(try Self.session(model, nil), left)
      #expect(SessionTests.isClose(found, expected), "\(fed)")
    }
    #expect(session.evictedCount > 300)
    // Sinks that stayed where they were would be something else.
    let stuck = try Self.session(model, HeavyHitterPolicy(capacity: 40, recent: 37))
    _ = try Self.last(stuck, Array(tokens[..<fed]))
    #expect(stuck.evictedCount > 0)
  }

  static let policies: [any CachePolicy] = [
    StreamingPolicy(sinks: 4, capacity: 48), HeavyHitterPolicy(capacity: 48),
    SnapKVPolicy(capacity: 48, window: 8),
    PyramidKVPolicy(budget: 48, window: 8),
  ]

  @Test(arguments: policies, [KVFormat.f16, KVFormat(keys: .int8), KVFormat(keys: .int4, rotation: .keys)])
  func memoryStaysWhatItIs(policy: any CachePolicy, format: KVFormat) throws {
    let model = try CacheTests.model()
    let session = try Self.session(model, policy, format)
    let tokens = SessionTests.tokens(2000)
    _ = try Self.last(session, Array(tokens[..<100]))
    let bytes = session.cacheByteCount
    let full = try Self.session(model, nil, format)
    _ = try Self.last(full, Array(tokens[..<48]))
    #expect(bytes == full.cacheByteCount, "one page")
    let logits = try Self.last(session, Array(tokens[100...]))
    #expect(session.cacheByteCount == bytes && session.position == 2000)
    #expect(session.evictedCount >= 2000 - 48 && logits.allSatisfy(\.isFinite))
    _ = try Self.last(full, Array(tokens[48...]))
    #expect(full.cacheByteCount > 7 * bytes)
    for token in tokens.prefix(100) { _ = try Self.last(session, [token]) }
    #expect(session.cacheByteCount == bytes)
  }

  /// Nothing is forgotten before a cache is full, and the results are those of a cache that grows.
  @Test(arguments: policies) func nothingIsForgottenEarly(policy: any CachePolicy) throws {
    let model = try CacheTests.model()
    let tokens = SessionTests.tokens(48)
    let session = try Self.session(model, policy)
    let full = try Self.session(model, nil)
    #expect(try Self.last(session, tokens) == Self.last(full, tokens))
    #expect(session.evictedCount == 0)
  }

  /// What is cut off is computed again, and the same results come out for the same pieces.
  @Test(arguments: policies) func truncationBeginsAgain(policy: any CachePolicy) throws {
    let model = try CacheTests.model()
    let tokens = SessionTests.tokens(300)
    let session = try Self.session(model, policy)
    let expected = try Self.last(session, tokens)
    session.reset()
    #expect(session.evictedCount == 0)
    #expect(try Self.last(session, tokens) == expected)
    session.truncate(to: 299)
    try session.refill()
    #expect(session.position == 299 && session.evictedCount > 200)
    session.truncate(to: 0)
    #expect(try Self.last(session, tokens) == expected)
  }

  /// A policy that writes down what it is told, and keeps the last entries.
  private struct Witness: CachePolicy {
    final class Notes: @unchecked Sendable { var entries: [CacheEntries] = [] }
    let knowledge: CacheKnowledge
    let notes = Notes()
    var minimumCount: Int { 8 }
    var description: String { "witness" }
    func capacity(layer: Int, of count: Int) -> Int { 40 }
    func kept(_ count: Int, of entries: CacheEntries) -> [Int] {
      notes.entries.append(entries)
      return Array(entries.count - count..<entries.count)
    }
  }

  /// Every query gives weights that add up to one for each of its heads; there are two, with a key/value head each.
  @Test func policiesLearnWhatQueriesAttendTo() throws {
    let model = try CacheTests.model()
    let tokens = SessionTests.tokens(130)
    func notes(_ knowledge: CacheKnowledge) throws -> [CacheEntries] {
      let policy = Witness(knowledge: knowledge)
      let session = try Self.session(model, policy, chunk: 16)
      _ = try Self.last(session, tokens)
      #expect((90..<130).contains(session.evictedCount))
      return policy.notes.entries
    }
    let nothing = try notes(.nothing)
    #expect(!nothing.isEmpty && nothing.allSatisfy { $0.mass.isEmpty && $0.count == 40 })
    let latest = try notes(.latestQueries(7))
    #expect(latest.count == nothing.count * 2, "each head chooses for itself")
    for entries in latest { #expect(abs(entries.mass.reduce(0, +) - 7) < 1e-4 && entries.mass.count == 40) }
    let all = try notes(.allQueries)
    #expect(abs((all.first?.mass.reduce(0, +) ?? 0) - 40) < 1e-3, "all queries so far")
    // Weights of what was forgotten are forgotten.
    for (index, entries) in all.enumerated() {
      #expect(entries.count == 40 && entries.mass.allSatisfy { $0 >= 0 })
      #expect(entries.mass.reduce(0, +) < Float(40 + index * 8) + 1e-3)
    }
    #expect(all.last.map { $0.mass.reduce(0, +) } ?? 0 > 8)
  }

  @Test func layersWithWindowsAreLeftAlone() throws {
    let windowed = try CacheTests.model(window: 40)
    let error = #expect(throws: ExecutionError.self) {
      try Self.session(windowed, StreamingPolicy(capacity: 48))
    }
    #expect(error?.diagnostic.code == "execution.policy")
  }

  /// Layers of which some have windows: those are counted, keep what their windows need, and the others forget.
  @Test(arguments: [[0, 40, 0], [40, 40, 0], [0, 0, 0]]) func layersWithWindowsAreCounted(windows: [Int])
    throws
  {
    let layers = windows.enumerated().map { layer, window in
      """
        %k\(layer) = linear %h\(layer), @w\(layer) : f32[T, 16]
        %a\(layer) = attention %h\(layer), %k\(layer), %k\(layer) {heads = 2, kv_heads = 2, head_dim = 8, scale = 0.35, window = \(window), cache = \(layer)} : f32[T, 16]
        %h\(layer + 1) = add %h\(layer), %a\(layer) : f32[T, 16]

      """
    }
    let weights = windows.indices.map { "@w\($0): f32[16, 16]" }.joined(separator: " ")
    let graph = try Graph(
      parsing: """
        graph @g (tokens: i32[T], positions: i32[T]) {
          constants { @e: f32[11, 16] @o: f32[11, 16] \(weights) }
          %h0 = embedding %tokens, @e : f32[T, 16]
        \(layers.joined())  %y = linear %h\(windows.count), @o : f32[T, 11]
          return %y
        }
        """)
    let model = TestModel(graph: graph)
    let tokens = SessionTests.tokens(900)
    let windowed = windows.count { $0 > 0 }
    for policy in [nil, HeavyHitterPolicy(capacity: 256) as (any CachePolicy)?] {
      let session = try Self.session(model, policy)
      #expect(session.program.windowedLayerCount == (policy == nil ? 0 : windowed))
      _ = try Self.last(session, tokens)
      // A page of 256 tokens of two heads: keys of eight floats, values of as many and as many zeros; 900 tokens take four.
      let page = 256 * 2 * (8 + 16) * 4
      let free = windows.count - windowed
      if policy == nil {
        #expect(session.evictedCount == 0 && session.cacheByteCount >= free * 4 * page)
      } else {
        #expect(session.evictedCount >= 900 - 256)
        #expect(session.cacheByteCount <= (free + 2 * windowed) * page)
      }
    }
  }

  @Test func whatCannotBeKeptSmallIsRefused() throws {
    let model = try CacheTests.model()
    for (policy, format) in [
      (StreamingPolicy(sinks: 4, capacity: 5) as any CachePolicy, KVFormat.f16),
      (SnapKVPolicy(capacity: 32, window: 32), .f16),
      (StreamingPolicy(capacity: 48), KVFormat(keys: .int4, keyScales: .channel)),
      (HeavyHitterPolicy(capacity: 48), KVFormat(keys: .int8, recent: 4)),
      (StreamingPolicy(capacity: 1 << 25), .f16),
    ] {
      #expect(throws: ExecutionError.self, "\(policy)") { try Self.session(model, policy, format) }
    }
    // Positions that are counted in the cache never reach the length from which on rotations change.
    let long = try CacheTests.model(rope: ["context": 32], isLong: true)
    #expect(throws: ExecutionError.self) { try Self.session(long, StreamingPolicy(capacity: 48)) }
    let session = try Self.session(long, StreamingPolicy(sinks: 2, capacity: 30))
    #expect(try Self.last(session, SessionTests.tokens(200)).allSatisfy(\.isFinite))
    // Those of the other policies do, when it is too late to begin again.
    let late = try Self.session(long, HeavyHitterPolicy(capacity: 16))
    let error = #expect(throws: ExecutionError.self) {
      for token in SessionTests.tokens(40) { _ = try Self.last(late, [token]) }
    }
    #expect(error?.diagnostic.code == "execution.policy")
  }
}
