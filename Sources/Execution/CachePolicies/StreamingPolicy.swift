/// Attention sinks and a sliding window: the first tokens and the last ones.
///
/// Positions are counted inside the cache: sinks move along with the window, so that no distance is longer than those that the model
/// was trained for, however long the text. Source: Xiao et al. 2023, "Efficient Streaming Language Models with Attention
/// Sinks" (arXiv 2309.17453), section 3.2.
public struct StreamingPolicy: CachePolicy {
  /// First tokens that stay.
  public let sinks: Int
  /// Most entries, sinks included.
  public let capacity: Int

  /// Creates a policy.
  public init(sinks: Int = 4, capacity: Int) {
    self.sinks = sinks
    self.capacity = capacity
  }

  static let entry = CachePolicies.Entry(
    name: "streaming",
    summary:
      "the first tokens (--kv-sinks, 4) and the last (--kv-window, else what the budget leaves; else the model's context)"
  ) { (options) throws(ExecutionError) in
    let sinks = options.sinks ?? 4
    if let budget = options.budget, let window = options.window, budget != sinks + window {
      throw .policy(
        "streaming", reason: "its budget is sinks and window, \(sinks + window) and not \(budget)")
    }
    return StreamingPolicy(
      sinks: sinks, capacity: options.window.map { sinks + $0 } ?? options.budget ?? options.contextLength)
  }

  /// Its name and sizes.
  public var description: String { "streaming (\(sinks) + \(capacity - sinks))" }
  /// The sinks, whose distance to the window never grows.
  public var movingEntries: Int { sinks }
  /// Entries that stay at the least.
  public var minimumCount: Int { sinks + 1 }

  /// Most entries of a layer's cache.
  public func capacity(layer: Int, of count: Int) -> Int { capacity }

  /// The entries that stay.
  public func kept(_ count: Int, of entries: CacheEntries) -> [Int] {
    Array(0..<sinks) + Array(entries.count - (count - sinks)..<entries.count)
  }
}
