/// Heavy hitters: the tokens that queries have attended to most so far, and the last ones.
///
/// Source: Zhang et al. 2023, "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models" (arXiv
/// 2306.14048), section 4. Tokens keep the positions that they had.
public struct HeavyHitterPolicy: CachePolicy {
  /// Most entries.
  public let capacity: Int
  /// Last tokens that stay.
  public let recent: Int

  /// Creates a policy; half of the entries are those of the last tokens unless told otherwise.
  public init(capacity: Int, recent: Int? = nil) {
    self.capacity = capacity
    self.recent = recent ?? capacity / 2
  }

  static let entry = CachePolicies.Entry(
    name: "h2o", summary: "what was attended to most, and the last tokens (--kv-window, half of the budget)"
  ) { (options) throws(ExecutionError) in
    try CachePolicies.refuseSinks("h2o", options)
    return HeavyHitterPolicy(capacity: try CachePolicies.budget("h2o", options), recent: options.window)
  }

  /// Its name and sizes.
  public var description: String { "h2o (\(capacity), last \(recent))" }
  /// What it must know of attention.
  public var knowledge: CacheKnowledge { .allQueries }
  /// Entries that stay at the least.
  public var minimumCount: Int { recent }

  /// Most entries of a layer's cache.
  public func capacity(layer: Int, of count: Int) -> Int { capacity }

  /// The entries that stay.
  public func kept(_ count: Int, of entries: CacheEntries) -> [Int] {
    entries.largest(count, keeping: recent, scores: entries.mass)
  }
}
