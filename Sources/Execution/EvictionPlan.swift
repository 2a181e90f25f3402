import Codecs
import GraphIR
import Kernels
import OrderedCollections

/// What a program must know to forget entries of full caches: budgets, and how keys came to their positions.
struct EvictionPlan {
  /// One layer whose cache is kept small.
  struct Layer {
    /// Number of its cache.
    let number: Int
    /// Most entries.
    let capacity: Int
    /// Entries that make room when it is full.
    let step: Int
    /// How its attention weighs keys.
    let scores: KernelTable.AttentionScores
    /// How its keys are turned; nil when they are not.
    let rotation: KeyRotation?
  }

  /// How keys of a layer are turned to their positions.
  struct KeyRotation {
    let inverseFrequencies: [Float]
    let isInterleaved: Bool
    /// Sequences up to this length have these frequencies; 0 for all.
    let context: Int
  }

  let policy: any CachePolicy
  let layers: [Layer]
  /// Layers that it leaves alone, since windows of their own keep their caches small.
  let windowedCount: Int
  /// Length from which on sequences count as no longer: positions are then counted inside of caches.
  let sequenceLimit: Int?

  /// - Throws: ``ExecutionError/policy(_:reason:)`` when the policy cannot work on this model and cache.
  init(
    _ policy: any CachePolicy, graph: Graph, weights: PreparedWeights, steps: [Step],
    format: KVFormat
  ) throws(ExecutionError) {
    let name = policy.description
    guard !format.isQuantized || (format.keyScales != .channel && format.recent == 0) else {
      throw .policy(
        name,
        reason:
          "a cache of \(format) has entries that cannot be taken out one by one; --kv-cache int8 or f16 has none"
      )
    }
    let all = steps.compactMap { step -> Step.AttentionParameters? in
      if case .attention(let parameters) = step.kind { parameters } else { nil }
    }
    let parameters = all.filter { $0.window == 0 }
    windowedCount = all.count - parameters.count
    guard !parameters.isEmpty else {
      throw .policy(name, reason: "every layer has a window of its own, and none grows without end")
    }
    var layers: [Layer] = []
    for (index, attention) in parameters.enumerated() {
      let capacity = policy.capacity(layer: index, of: parameters.count)
      guard capacity > policy.minimumCount else {
        throw .policy(
          name,
          reason:
            "\(capacity) entries in layer \(attention.cache) leave no room beside the \(policy.minimumCount) that always stay"
        )
      }
      guard capacity <= 1 << 24 else { throw .policy(name, reason: "more than 2^24 entries") }
      layers.append(
        Layer(
          number: attention.cache, capacity: capacity, step: policy.step(capacity: capacity),
          scores: KernelTable.AttentionScores(
            heads: attention.heads, scale: attention.scale, softcap: attention.softcap,
            slopes: attention.slopes, sinks: attention.sinks),
          rotation: policy.movingEntries > 0
            ? try EvictionPlan.rotation(of: attention.cache, policy, graph, weights) : nil))
    }
    self.policy = policy
    self.layers = layers
    sequenceLimit = policy.movingEntries > 0 ? layers.map(\.capacity).max() : nil
    for layer in layers {
      guard let context = layer.rotation?.context, context > 0, layer.capacity > context else { continue }
      throw .policy(
        name, reason: "rotations change beyond \(context) tokens, so that a cache may hold no more than these"
      )
    }
  }

  /// How the keys of a cache are turned, found from the graph: the rotation is what attention reads, or what that is a part of.
  private static func rotation(
    of cache: Int, _ policy: any CachePolicy, _ graph: Graph, _ weights: PreparedWeights
  ) throws(ExecutionError) -> KeyRotation? {
    let uses = graph.uses
    let attention = graph.nodes.first { $0.isAttention && (try? $0.integer("cache")) == cache }
    if let attention, attention.operation == .rotaryAttention {
      if let rotation = keyRotation(attention, frequencies: 4, weights) { return rotation }
    }
    var value = attention?.operands[1].value
    var isPart = true
    while let current = value, let index = uses.producer(of: current) {
      let node = graph.nodes[index]
      if node.operation == .linear || node.operation == .embedding { return nil }
      if node.operation == .rope {
        guard isPart, let rotation = keyRotation(node, frequencies: 2, weights) else { break }
        return rotation
      }
      // Both parts of joined heads are looked at: what is turned in part cannot be turned on as a whole.
      if node.operation == .joinHeads {
        guard try !isTurned(node, graph, uses) else { break }
        return nil
      }
      if node.operation != .slice { isPart = false }
      value = node.operands.first?.value
    }
    guard value != nil else { return nil }
    throw .policy(
      policy.description,
      reason: "the keys of layer \(cache) are changed after their rotation, so that sinks cannot be moved")
  }

  /// What a node that turns keys says of it.
  private static func keyRotation(
    _ node: Node, frequencies position: Int, _ weights: PreparedWeights
  ) -> KeyRotation? {
    guard let frequencies = weights.vectors[PreparedWeights.key(node.operands[position])],
      let isInterleaved = try? node.bool("interleaved"), let context = try? node.integer("context")
    else { return nil }
    return KeyRotation(inverseFrequencies: frequencies, isInterleaved: isInterleaved, context: context)
  }

  private static func isTurned(
    _ node: Node, _ graph: Graph, _ uses: UseTable
  ) throws(ExecutionError) -> Bool {
    var pending = node.valueOperands
    while let value = pending.popLast() {
      guard let index = uses.producer(of: value) else { continue }
      let node = graph.nodes[index]
      if node.operation == .rope { return true }
      if node.operation != .linear { pending += node.valueOperands }
    }
    return false
  }
}
