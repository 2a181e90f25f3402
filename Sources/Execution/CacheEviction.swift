import Kernels

/// Makes room in the full caches of one session, as a policy chooses.
final class CacheEviction {
  /// What is known of one layer's cache.
  private struct State {
    /// Weights of the softmax by head and entry.
    var mass: [[Float]] = []
    /// The queries that a policy wants to know of, `[rows, columns]`: the latest ones, or all since entries were last taken out.
    var queries: [Float] = []
    var queryColumns = 0
    /// Keys of the entries that move, as they were first stored, `[entries, columns]`.
    var movingKeys: [Float] = []
    /// Entries forgotten so far.
    var evicted = 0
    /// Where moved keys are stored before they go into the cache.
    var scratch: KVPages?
  }

  let plan: EvictionPlan
  private let indices: [Int: Int]
  private var states: [State]

  init(_ plan: EvictionPlan) {
    self.plan = plan
    indices = Dictionary(uniqueKeysWithValues: plan.layers.enumerated().map { ($1.number, $0) })
    states = plan.layers.map { _ in State() }
  }

  /// Forgets what is known, with the caches' entries.
  func reset() { states = plan.layers.map { _ in State() } }

  /// Most entries that a layer has forgotten.
  var evictedCount: Int { states.map(\.evicted).max() ?? 0 }

  /// Notes what a policy must know of keys that were just appended and of the queries of the same tokens.
  func observe(
    _ number: Int, keys: Rows, queries: Rows, cache: KVPages, kernels: KernelTable, pool: ThreadPool
  ) {
    guard let index = indices[number] else { return }
    let appended = unsafe keys.rows
    if plan.layers[index].rotation != nil, states[index].evicted == 0 {
      let first = cache.count - appended
      for row in 0..<max(0, min(appended, plan.policy.movingEntries - first)) {
        unsafe states[index].movingKeys += unsafe UnsafeBufferPointer(start: keys[row], count: keys.columns)
      }
    }
    guard plan.policy.knowledge != .nothing else { return }
    states[index].queryColumns = unsafe queries.columns
    for row in unsafe 0..<queries.rows {
      unsafe states[index].queries += UnsafeBufferPointer(start: queries[row], count: queries.columns)
    }
    guard case .latestQueries(let count) = plan.policy.knowledge else { return }
    let extra = unsafe states[index].queries.count - count * queries.columns
    if extra > 0 { states[index].queries.removeFirst(extra) }
  }

  /// Forgets entries of full caches.
  /// - Returns: how many tokens, at most `wanted`, fit into all caches now; at least one.
  func makeRoom(
    for wanted: Int, in caches: [Int: KVPages], kernels: KernelTable, pool: ThreadPool
  ) -> Int {
    var room = wanted
    for (index, layer) in plan.layers.enumerated() {
      guard let cache = caches[layer.number] else { preconditionFailure("caches were made with the session") }
      if cache.count >= layer.capacity { evict(index, cache, kernels, pool) }
      room = min(room, layer.capacity - cache.count)
    }
    return room
  }

  private func evict(_ index: Int, _ cache: KVPages, _ kernels: KernelTable, _ pool: ThreadPool) {
    let layer = plan.layers[index]
    let kept = layer.capacity - layer.step
    let mass = knownMass(index, cache, kernels, pool)
    var lists: [[Int]] = []
    for head in 0..<cache.heads {
      if mass.isEmpty, let first = lists.first {
        lists.append(first)
      } else {
        lists.append(
          plan.policy.kept(kept, of: CacheEntries(count: cache.count, mass: mass.isEmpty ? [] : mass[head])))
      }
      precondition(lists[head].count == kept, "a policy keeps as many entries as it is told")
    }
    states[index].evicted += cache.count - kept
    cache.keep(lists)
    if !states[index].mass.isEmpty {
      states[index].mass = zip(states[index].mass, lists).map { mass, list in list.map { mass[$0] } }
    }
    moveEntries(index, cache, kernels, pool)
  }

  /// What the policy is told of each head's entries; empty when it wants to know nothing. All queries since the last time are
  /// looked at together: no entry was taken out in between, so that each sees what it saw.
  private func knownMass(
    _ index: Int, _ cache: KVPages, _ kernels: KernelTable, _ pool: ThreadPool
  ) -> [[Float]] {
    guard plan.policy.knowledge != .nothing else { return [] }
    let columns = states[index].queryColumns
    var queries = states[index].queries
    let rows = min(queries.count / max(columns, 1), cache.count)
    let mass = unsafe queries.withUnsafeMutableBufferPointer { buffer -> [[Float]] in
      guard let start = buffer.baseAddress else { return [] }
      let first = unsafe start + (buffer.count - rows * columns)
      return unsafe kernels.attentionMass(
        Rows(first, rows: rows, columns: columns), cache: cache, plan.layers[index].scores, pool: pool)
    }
    guard plan.policy.knowledge == .allQueries else { return mass }
    states[index].queries = []
    var known = states[index].mass.isEmpty ? mass.map { _ in [] } : states[index].mass
    for head in mass.indices {
      for entry in known[head].indices { known[head][entry] += mass[head][entry] }
      known[head] += mass[head][known[head].count...]
    }
    states[index].mass = known
    return known
  }

  /// Turns the keys of the first entries on by as many positions as the others have come closer to the beginning. Always from the
  /// keys as they first were, so that nothing is rounded twice.
  private func moveEntries(_ index: Int, _ cache: KVPages, _ kernels: KernelTable, _ pool: ThreadPool) {
    let count = plan.policy.movingEntries
    guard let rotation = plan.layers[index].rotation, count > 0 else { return }
    let scratch =
      states[index].scratch
      ?? KVPages(
        heads: cache.heads, headDimension: cache.headDimension, format: cache.format, scales: cache.scales)
    states[index].scratch = scratch
    scratch.truncate(to: 0)
    let table = RotaryTable()
    let positions = [Int32](repeating: Int32(states[index].evicted), count: count)
    unsafe positions.withUnsafeBufferPointer { positions in
      guard let start = positions.baseAddress else { return }
      unsafe table.fill(
        positions: start, count: count, inverseFrequencies: rotation.inverseFrequencies,
        pairs: rotation.inverseFrequencies.count)
    }
    let columns = cache.heads * cache.headDimension
    var keys = states[index].movingKeys
    precondition(keys.count == count * columns, "the first keys were noted when they came")
    unsafe keys.withUnsafeMutableBufferPointer { keys in
      guard let start = keys.baseAddress else { return }
      let rows = unsafe Rows(start, rows: count, columns: columns)
      unsafe kernels.rope(
        rows, table: table, heads: cache.heads, headDimension: cache.headDimension,
        isInterleaved: rotation.isInterleaved, into: rows, pool: pool)
      unsafe kernels.appendKV(k: rows, v: rows, to: scratch, pool: pool)
    }
    cache.replaceKeys(from: scratch, count: count)
  }
}
