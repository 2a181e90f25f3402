import Codecs
import Execution
import TensorCore
import Testing

/// Policies alone: which entries they keep, and how many.
@Suite struct CachePolicyTests {
  private func options(
    budget: Int? = nil, sinks: Int? = nil, window: Int? = nil
  ) -> CachePolicyOptions {
    CachePolicyOptions(contextLength: 1000, budget: budget, sinks: sinks, window: window)
  }

  private func description(
    _ name: String, budget: Int? = nil, sinks: Int? = nil, window: Int? = nil
  ) throws -> String {
    let options = options(budget: budget, sinks: sinks, window: window)
    return try CachePolicies.policy(named: name, options).map { "\($0)" } ?? "none"
  }

  @Test func namesAndOptionsMakePolicies() throws {
    #expect(try description("full") == "none")
    #expect(try description("streaming") == "streaming (4 + 996)")
    #expect(try description("streaming", sinks: 2, window: 30) == "streaming (2 + 30)")
    #expect(try description("streaming", budget: 40) == "streaming (4 + 36)")
    #expect(try description("h2o", budget: 64) == "h2o (64, last 32)")
    #expect(try description("snapkv", budget: 64, window: 8) == "snapkv (64, last 8)")
    #expect(try description("pyramidkv", budget: 64) == "pyramidkv (64 on average, last 32)")
    for (name, budget, sinks, window) in [
      ("h2o", nil, nil, nil), ("snapkv", nil, nil, 8), ("h2o", 64, 4, nil), ("full", 64, nil, nil),
      ("streaming", 30, 4, 30), ("lru", 64, nil, nil),
    ] as [(String, Int?, Int?, Int?)] {
      let error = #expect(throws: ExecutionError.self, "\(name)") {
        try description(name, budget: budget, sinks: sinks, window: window)
      }
      #expect(error?.diagnostic.status == .usage)
    }
  }

  /// Whatever is known, a policy keeps as many entries as it is told, ascending, with those that it promises.
  @Test(arguments: [
    StreamingPolicy(sinks: 3, capacity: 40) as any CachePolicy, HeavyHitterPolicy(capacity: 40, recent: 7),
    SnapKVPolicy(capacity: 40, window: 7), PyramidKVPolicy(budget: 40, window: 7),
  ]) func keptEntriesAreInOrder(policy: any CachePolicy) {
    for count in [40, 41, 60] {
      for kept in [policy.minimumCount, 20, 39] {
        let mass = policy.knowledge == .nothing ? [] : (0..<count).map { Float($0 * 37 % 11) }
        let found = policy.kept(kept, of: CacheEntries(count: count, mass: mass))
        #expect(found.count == kept && found == Array(Set(found)).sorted())
        #expect(found.allSatisfy { (0..<count).contains($0) })
        #expect(found.last == count - 1)
        if policy.knowledge != .nothing { #expect(found.suffix(7) == Array(count - 7..<count)[...]) }
      }
    }
  }

  @Test func heavyHittersAreKept() {
    let mass: [Float] = [5, 1, 9, 2, 2, 8, 0, 0, 0, 3]
    let policy = HeavyHitterPolicy(capacity: 10, recent: 2)
    #expect(policy.kept(6, of: CacheEntries(count: 10, mass: mass)) == [0, 2, 3, 5, 8, 9])
    #expect(policy.kept(2, of: CacheEntries(count: 10, mass: mass)) == [8, 9])
  }

  @Test func votesAreSharedWithNeighbours() {
    var mass = [Float](repeating: 0, count: 30)
    mass[10] = 10
    mass[20] = 4
    let policy = SnapKVPolicy(capacity: 20, window: 3, pooling: 5)
    #expect(
      policy.kept(13, of: CacheEntries(count: 30, mass: mass))
        == [8, 9, 10, 11, 12, 18, 19, 20, 21, 22, 27, 28, 29])
  }

  @Test func budgetsFallFromLayerToLayer() {
    for (budget, layers) in [(128, 8), (64, 32), (40, 2), (100, 1)] {
      let policy = PyramidKVPolicy(budget: budget, window: 8)
      let capacities = (0..<layers).map { policy.capacity(layer: $0, of: layers) }
      #expect(capacities.reduce(0, +) == budget * layers, "\(capacities)")
      #expect(zip(capacities, capacities.dropFirst()).allSatisfy { $0 >= $1 })
      #expect(layers == 1 || (capacities[0] > budget * 3 / 2 && capacities[layers - 1] > 8))
    }
  }
}
