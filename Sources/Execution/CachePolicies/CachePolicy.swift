/// Which entries of a full cache stay.
///
/// A policy is a value in a file of its own and a row of ``CachePolicies``. The session asks it when the cache of a layer is full, takes
/// the other entries out, and goes on; the attention kernels see a shorter sequence and know of nothing. Each key/value head
/// keeps entries of its own, but all as many. Layers with a window of their own are left alone.
public protocol CachePolicy: Sendable, CustomStringConvertible {
  /// What must be known of attention to choose.
  var knowledge: CacheKnowledge { get }
  /// Entries at the beginning that move along with the others: their keys are turned, so that positions are counted inside the
  /// cache. 0: all entries keep the positions that their tokens had.
  var movingEntries: Int { get }
  /// Entries that stay at the least, whatever is chosen.
  var minimumCount: Int { get }

  /// Most entries of a layer's cache.
  /// - Parameter layer: which of `count` layers, in order.
  func capacity(layer: Int, of count: Int) -> Int
  /// Chooses exactly `count` entries of one head, at least ``minimumCount``.
  /// - Returns: their indices, ascending.
  func kept(_ count: Int, of entries: CacheEntries) -> [Int]
}

extension CachePolicy {
  /// Nothing of attention is needed.
  public var knowledge: CacheKnowledge { .nothing }
  /// All entries stay where they are.
  public var movingEntries: Int { 0 }

  /// Entries that make room when a cache of this capacity is full: some at a time, so that the others seldom move up.
  func step(capacity: Int) -> Int { max(1, min(64, (capacity - minimumCount) / 4)) }
}

/// What a policy must know of attention.
public enum CacheKnowledge: Sendable, Equatable {
  /// Nothing.
  case nothing
  /// How much so many of the latest queries attend to each entry, when room is needed.
  case latestQueries(Int)
  /// How much all queries so far attended to each entry.
  case allQueries
}

/// The entries of one head, the oldest first; the last ones are those of the last tokens.
public struct CacheEntries: Sendable {
  /// How many there are.
  public let count: Int
  /// Weights of the softmax that each got, as the policy's ``CachePolicy/knowledge`` asks; empty for ``CacheKnowledge/nothing``.
  public let mass: [Float]

  /// Entries with what is known of them.
  public init(count: Int, mass: [Float] = []) {
    self.count = count
    self.mass = mass
  }

  /// The last `recent` entries, and before them those with the largest scores, `count` in all, ascending. Of equal ones the earlier
  /// stays.
  func largest(_ count: Int, keeping recent: Int, scores: [Float]) -> [Int] {
    let recent = min(recent, count, self.count)
    let candidates = 0..<self.count - recent
    let chosen = candidates.sorted { (scores[$1], $0) < (scores[$0], $1) }.prefix(count - recent)
    return chosen.sorted() + Array(self.count - recent..<self.count)
  }
}

/// What policies are made of.
public struct CachePolicyOptions: Sendable, Equatable {
  /// Most entries of a cache; nil for the policy's own choice, if it has one.
  public var budget: Int?
  /// First tokens that always stay; nil for 4.
  public var sinks: Int?
  /// Last tokens that always stay, or whose queries are looked at; nil for the policy's own choice.
  public var window: Int?
  /// Tokens that the model was trained for.
  public var contextLength: Int

  /// Creates options.
  public init(contextLength: Int, budget: Int? = nil, sinks: Int? = nil, window: Int? = nil) {
    self.contextLength = contextLength
    self.budget = budget
    self.sinks = sinks
    self.window = window
  }
}

/// Every policy by name; adding one is adding a file and a row.
public enum CachePolicies {
  /// One of them.
  public struct Entry: Sendable {
    /// What people call it.
    public let name: String
    /// One line for people.
    public let summary: String
    /// Makes it; nil for caches that grow.
    let make: @Sendable (CachePolicyOptions) throws(ExecutionError) -> (any CachePolicy)?
  }

  /// The rows.
  public static let entries: [Entry] = [
    Entry(name: "full", summary: "everything stays, and caches grow") { (options) throws(ExecutionError) in
      guard options.budget == nil, options.sinks == nil, options.window == nil else {
        throw .policy("full", reason: "budget, sinks and window are for policies that forget")
      }
      return nil
    },
    StreamingPolicy.entry, HeavyHitterPolicy.entry, SnapKVPolicy.entry, PyramidKVPolicy.entry,
  ]

  /// The policy of a name; nil for `full`.
  /// - Throws: ``ExecutionError/policy(_:reason:)``.
  public static func policy(
    named name: String, _ options: CachePolicyOptions
  ) throws(ExecutionError) -> (any CachePolicy)? {
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw .policy(
        name, reason: "there is none of this name: \(entries.map(\.name).joined(separator: ", "))")
    }
    return try entry.make(options)
  }

  /// A budget that must be given.
  static func budget(_ name: String, _ options: CachePolicyOptions) throws(ExecutionError) -> Int {
    guard let budget = options.budget else {
      throw .policy(name, reason: "it needs a budget (--kv-budget), the entries that a cache holds")
    }
    return budget
  }

  /// Refuses sinks for policies that choose first tokens like all others.
  static func refuseSinks(_ name: String, _ options: CachePolicyOptions) throws(ExecutionError) {
    guard options.sinks == nil else {
      throw .policy(name, reason: "sinks are for streaming; it keeps first tokens if they are attended to")
    }
  }
}
