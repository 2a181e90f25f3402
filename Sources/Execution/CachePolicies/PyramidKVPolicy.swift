/// SnapKV with a budget for each layer: early layers, whose attention is spread, keep more than late ones.
///
/// Budgets fall evenly from the first layer to the last; the last one has a twentieth of the average beside the window. Source: Cai
/// et al. 2024, "PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling" (arXiv 2406.02069), section 4.
public struct PyramidKVPolicy: CachePolicy {
  /// Entries of a layer on average.
  public let budget: Int
  private let choice: SnapKVPolicy

  /// Creates a policy.
  public init(budget: Int, window: Int = 32, pooling: Int = 5) {
    self.budget = budget
    choice = SnapKVPolicy(capacity: budget, window: window, pooling: pooling)
  }

  static let entry = CachePolicies.Entry(
    name: "pyramidkv",
    summary: "snapkv with the budget as an average: more for early layers, less for late ones"
  ) { (options) throws(ExecutionError) in
    try CachePolicies.refuseSinks("pyramidkv", options)
    return PyramidKVPolicy(
      budget: try CachePolicies.budget("pyramidkv", options), window: options.window ?? 32)
  }

  /// Its name and sizes.
  public var description: String { "pyramidkv (\(budget) on average, last \(choice.window))" }
  /// What it must know of attention.
  public var knowledge: CacheKnowledge { choice.knowledge }
  /// Entries that stay at the least.
  public var minimumCount: Int { choice.minimumCount }

  /// Most entries of a layer's cache.
  public func capacity(layer: Int, of count: Int) -> Int {
    let shared = budget - choice.window
    guard count > 1, shared > 1 else { return budget }
    // Twice the average at one end and nearly nothing at the other; what rounding leaves over is the first layer's.
    let least = max(1, shared / 20)
    let most = 2 * shared - least
    func share(_ layer: Int) -> Int { least + (most - least) * (count - 1 - layer) / (count - 1) }
    let rest = layer == 0 ? shared * count - (0..<count).reduce(0) { $0 + share($1) } : 0
    return choice.window + share(layer) + rest
  }

  /// The entries that stay.
  public func kept(_ count: Int, of entries: CacheEntries) -> [Int] { choice.kept(count, of: entries) }
}
