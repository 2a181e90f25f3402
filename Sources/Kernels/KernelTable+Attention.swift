import CKernels
import Codecs

extension KernelTable {
  /// Appends keys and values of new tokens to a cache.
  ///
  /// - Parameters:
  ///   - k: `[T, heads * headDimension]`, rotated already.
  ///   - v: `[T, heads * valueDimension]`.
  ///   - cache: takes them in its format. Halves are the nearest ones, ties to even; codes of int8 and fp8 have the scale
  ///     `absmax / 127` or `absmax / 448`, those of int4 lie evenly between bounds that the squared error chooses.
  ///   - rotary: turns the keys on their way, in memory of the workspace; nil when they are turned already.
  public func appendKV(
    k: Rows, v: Rows, to cache: KVPages, rotary: (heads: RotaryHeads, workspace: Workspace)? = nil,
    pool: ThreadPool
  ) {
    unsafe precondition(k.rows == v.rows, "different numbers of keys and values")
    unsafe precondition(
      k.columns == cache.heads * cache.headDimension && v.columns == cache.heads * cache.valueDimension,
      "keys or values do not fit the cache")
    let tokens = unsafe k.rows
    guard tokens > 0 else { return }
    cache.reserve(cache.count + tokens)
    guard let store = unsafe functions.store else { return }
    let pages = KVPagePointers(cache)
    let rotation = KVRotationBlocks(cache)
    // Scratch grows here, before threads take their parts of it.
    _ = unsafe cache.scratch(head: 0)
    let keys = unsafe rotary?.workspace.turnedKeys(tokens, columns: k.columns) ?? k
    forEachRow(cache.heads, columns: tokens * cache.headDimension, pool) { head in
      let sides = unsafe pages.sides(head)
      let columns = head * cache.headDimension..<(head + 1) * cache.headDimension
      if let turning = rotary?.heads {
        unsafe turn(k.columns(columns), heads: 1, turning, first: 0, into: keys.columns(columns))
      }
      var task = unsafe ck_store(
        k: keys.pointer + columns.lowerBound, k_stride: keys.stride,
        v: v.pointer + head * cache.valueDimension, v_stride: v.stride, tokens: tokens,
        first_position: cache.count, head_dimension: cache.headDimension,
        value_dimension: cache.valueDimension, keys: sides.keys, values: sides.values,
        recent_keys: sides.recentKeys,
        recent_values: sides.recentValues, has_recent: cache.recent == nil ? 0 : 1,
        key_rotation: rotation.keys, value_rotation: rotation.values,
        key_scale: cache.scales.map { KernelTable.scale($0.keys, head) } ?? 0,
        value_scale: cache.scales.map { KernelTable.scale($0.values, head) } ?? 0,
        scratch: cache.scratch(head: head))
      unsafe store(&task)
    }
    pages.release()
    cache.advance(by: tokens)
  }

  /// Causal attention of the last `q.rows` tokens of a sequence over the cache that holds all its keys and values.
  ///
  /// - Parameters:
  ///   - q: `[T, heads * headDimension]`, rotated already; row `t` is the token at position `cache.count - T + t`.
  ///   - cache: keys and values up to the last of these tokens. `heads` must be a multiple of its heads; query head `h`
  ///     uses key/value head `h / (heads / cache.heads)`.
  ///   - heads: query heads.
  ///   - scale: factor of the logits.
  ///   - window: keys that a token sees, itself included; 0 for all.
  ///   - softcap: logits become `cap * tanh(logit / cap)` after scaling; 0 for none.
  ///   - slopes: one number a head; logits change by it for each key that lies further on. Nil for nothing.
  ///   - sinks: one logit a head that takes its share of the softmax and has no value. Nil for none.
  ///   - rotary: turns the queries first; nil when they are turned already.
  ///   - y: `[T, heads * valueDimension]`.
  ///
  /// Float32, online softmax over tiles of 64 keys that begin at multiples of 64.
  /// Source: Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135.
  public func attention(
    _ q: Rows, cache: KVPages, heads: Int, scale: Float, window: Int = 0, softcap: Float = 0,
    slopes: UnsafePointer<Float>? = nil, sinks: UnsafePointer<Float>? = nil,
    rotary: RotaryHeads? = nil, into y: Rows, workspace: Workspace, pool: ThreadPool
  ) {
    unsafe precondition(
      q.columns == heads * cache.headDimension && y.columns == heads * cache.valueDimension
        && q.rows == y.rows && heads % cache.heads == 0, "shapes of attention")
    unsafe precondition(q.rows <= cache.count, "the cache holds fewer tokens than ask")
    let tokens = unsafe q.rows
    guard tokens > 0 else { return }
    let group = heads / cache.heads
    let blockTokens = max(1, min(tokens, KernelTable.attentionRows / group))
    let blocks = (tokens + blockTokens - 1) / blockTokens
    let scratch = ck_attention_scratch(blockTokens * group, cache.headDimension, cache.paddedDimension)
    let width = group * cache.headDimension
    workspace.reserve(
      threadCount: pool.threadCount, floatCount: scratch + (rotary == nil ? 0 : blockTokens * width))
    guard let function = unsafe functions.attention else { return }
    let pages = KVPagePointers(cache)
    let rotation = KVRotationBlocks(cache)
    pool.run(taskCount: blocks * cache.heads) { task, worker in
      // The last blocks see most keys: they go first.
      let block = blocks - 1 - task / cache.heads
      let head = task % cache.heads
      let first = block * blockTokens
      let count = min(blockTokens, tokens - first)
      let target = head * group * cache.valueDimension
      let sides = unsafe pages.sides(head)
      var queries = unsafe q.rows(first..<first + count).columns(head * width..<(head + 1) * width)
      if let rotary {
        let turned = unsafe Rows(workspace.scratch(worker) + scratch, rows: count, columns: width)
        // The queries are those of the last tokens that the table is for.
        unsafe turn(
          queries, heads: group, rotary, first: rotary.table.count - tokens + first, into: turned)
        unsafe queries = turned
      }
      var work = unsafe ck_attention(
        q: queries.pointer, q_stride: queries.stride, y: y[first] + target, y_stride: y.stride,
        tokens: count, group: group, head_dimension: cache.headDimension,
        first_position: cache.count - tokens + first, window: window, scale: scale, softcap: softcap,
        slopes: slopes.map { unsafe $0 + head * group }, keys: sides.keys, values: sides.values,
        recent_keys: sides.recentKeys, recent_values: sides.recentValues,
        recent: cache.recent == nil ? -1 : cache.format.recent, key_rotation: rotation.keys,
        value_rotation: rotation.values, value_dimension: cache.valueDimension,
        padded_dimension: cache.paddedDimension,
        sinks: sinks.map { unsafe $0 + head * group }, scratch: workspace.scratch(worker))
      unsafe function(&work)
    }
    pages.release()
    withExtendedLifetime(cache) {}
  }

  /// The static scale of a head; 0 for none.
  private static func scale(_ scales: [Float], _ head: Int) -> Float {
    scales.count == 1 ? scales[0] : head < scales.count ? scales[head] : 0
  }

  /// Query rows (tokens times heads of a group) of a task.
  private static let attentionRows = 48
}

/// Hadamard blocks of a cache's keys and values; 0 for none.
private struct KVRotationBlocks {
  let keys: Int
  let values: Int

  init(_ cache: KVPages) {
    let rotation = cache.format.rotation
    keys = rotation == .none ? 0 : KVFormat.rotationBlock(cache.headDimension)
    values = rotation == .both ? KVFormat.rotationBlock(cache.valueDimension) : 0
  }
}

/// The pages of a cache as kernels see them, until they are released.
@safe
private struct KVPagePointers {
  private let cache: KVPages
  private let pointers: [UnsafeMutableBufferPointer<UnsafeMutableRawPointer?>]

  init(_ cache: KVPages) {
    self.cache = cache
    let lists = unsafe [
      cache.keyPages, cache.valuePages, cache.recent?.keyPages ?? [], cache.recent?.valuePages ?? [],
    ]
    unsafe pointers = lists.map { list in
      let copy = UnsafeMutableBufferPointer<UnsafeMutableRawPointer?>.allocate(
        capacity: unsafe max(list.count, 1))
      _ = unsafe copy.initialize(from: list)
      return unsafe copy
    }
  }

  func release() { unsafe pointers.forEach { unsafe $0.deallocate() } }

  typealias Sides = (
    keys: ck_cache_side, values: ck_cache_side, recentKeys: ck_cache_side, recentValues: ck_cache_side
  )

  func sides(_ head: Int) -> Sides {
    let recent = cache.recent ?? cache
    return unsafe (
      cache.keyLayout.side(head, pages: UnsafePointer(pointers[0].baseAddress)),
      cache.valueLayout.side(head, pages: UnsafePointer(pointers[1].baseAddress)),
      recent.keyLayout.side(head, pages: UnsafePointer(pointers[2].baseAddress)),
      recent.valueLayout.side(head, pages: UnsafePointer(pointers[3].baseAddress))
    )
  }
}
