/// What the last queries attend to, with its neighbours.
///
/// The queries of the last tokens vote for entries by their weights; votes are averaged over neighbours, so that entries stay in
/// their surroundings. Source: Li et al. 2024, "SnapKV: LLM Knows What You are Looking for Before Generation" (arXiv 2404.14469),
/// section 4. The paper compresses a prompt once; here that happens whenever a cache is full, so that memory is bounded in long
/// prompts and long answers alike. Tokens keep the positions that they had.
public struct SnapKVPolicy: CachePolicy {
  /// Most entries.
  public let capacity: Int
  /// Last tokens, which vote and stay.
  public let window: Int
  /// Neighbours that votes are averaged over, itself included.
  public let pooling: Int

  /// Creates a policy.
  public init(capacity: Int, window: Int = 32, pooling: Int = 5) {
    self.capacity = capacity
    self.window = window
    self.pooling = pooling
  }

  static let entry = CachePolicies.Entry(
    name: "snapkv", summary: "what the last queries (--kv-window, 32) attend to, with its neighbours"
  ) { (options) throws(ExecutionError) in
    try CachePolicies.refuseSinks("snapkv", options)
    return SnapKVPolicy(
      capacity: try CachePolicies.budget("snapkv", options), window: options.window ?? 32)
  }

  /// Its name and sizes.
  public var description: String { "snapkv (\(capacity), last \(window))" }
  /// What it must know of attention.
  public var knowledge: CacheKnowledge { .latestQueries(window) }
  /// Entries that stay at the least.
  public var minimumCount: Int { window }

  /// Most entries of a layer's cache.
  public func capacity(layer: Int, of count: Int) -> Int { capacity }

  /// The entries that stay.
  public func kept(_ count: Int, of entries: CacheEntries) -> [Int] {
    entries.largest(count, keeping: window, scores: pooled(entries.mass))
  }

  /// Averages over neighbours; beyond the ends there is nothing.
  func pooled(_ mass: [Float]) -> [Float] {
    let reach = pooling / 2
    return mass.indices.map { index in
      let neighbours = max(0, index - reach)...min(mass.count - 1, index + reach)
      return mass[neighbours].reduce(0, +) / Float(pooling)
    }
  }
}
