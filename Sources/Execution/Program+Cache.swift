import Codecs
import GraphIR
import Kernels

extension Program {
  /// How keys and values are cached: as the options say, else as the model says, else as usual. Static scales are the model's.
  static func cache(
    _ shapes: [Int: CacheShape], _ stated: CacheQuantization?, _ options: ExecutionOptions
  ) throws(ExecutionError) -> CacheQuantization {
    let heads = shapes.mapValues(\.heads)
    try check(stated, heads)
    guard let format = options.cache else { return stated ?? CacheQuantization(options.unstatedCache) }
    var result = CacheQuantization(format)
    if let stated, stated.format.isStatic, stated.format.keys == format.keys,
      stated.format.values == format.values, format.isStatic
    {
      result.scales = stated.scales
    }
    try check(result, heads)
    return result
  }

  private static func check(
    _ cache: CacheQuantization?, _ heads: [Int: Int]
  ) throws(ExecutionError) {
    guard !heads.isEmpty, let problem = cache?.problem(heads: heads) else { return }
    throw .unsupported(operation: "attention", scope: "cache of keys and values", reason: problem)
  }

  /// The cache of an attention, as the format and the model's scales have it.
  func makeCache(_ number: Int, _ shape: CacheShape) -> KVPages {
    KVPages(
      heads: shape.heads, headDimension: shape.headDimension, valueDimension: shape.valueDimension,
      format: cache.format, window: shape.window, scales: cache.scales[number])
  }
}

extension Node {
  /// Whether it is an attention over a cache, whoever turns its queries and keys.
  var isAttention: Bool { operation == .attention || operation == .rotaryAttention }
}

extension Graph {
  /// Key/value heads of each layer's cache, by its number.
  public var cacheHeads: [Int: Int] {
    var result: [Int: Int] = [:]
    for node in nodes where node.isAttention {
      guard let number = try? node.integer("cache"), let heads = try? node.integer("kv_heads") else {
        continue
      }
      result[number] = heads
    }
    return result
  }
}
