import CKernels

extension KernelTable {
  /// Appends keys and values of new tokens to a cache.
  ///
  /// - Parameters:
  ///   - k: `[T, heads * headDimension]`, rotated already.
  ///   - v: `[T, heads * valueDimension]`.
  ///   - cache: f16 pages take the nearest half, ties to even.
  public func appendKV(k: Rows, v: Rows, to cache: KVPages, pool: ThreadPool) {
    unsafe precondition(k.rows == v.rows, "different numbers of keys and values")
    unsafe precondition(
      k.columns == cache.heads * cache.headDimension && v.columns == cache.heads * cache.valueDimension,
      "keys or values do not fit the cache")
    let tokens = unsafe k.rows
    guard tokens > 0 else { return }
    cache.reserve(cache.count + tokens)
    let functions = unsafe self.functions.store
    guard let store = unsafe cache.element == .f32 ? functions.0 : functions.1 else { return }
    let keyPages = unsafe cache.keyPages.map(Optional.init)
    let valuePages = unsafe cache.valuePages.map(Optional.init)
    unsafe keyPages.withUnsafeBufferPointer { keys in
      unsafe valuePages.withUnsafeBufferPointer { values in
        let task = unsafe ck_store(
          k: k.pointer, k_stride: k.stride, v: v.pointer, v_stride: v.stride, tokens: tokens,
          first_position: cache.count, head_dimension: cache.headDimension,
          value_dimension: cache.valueDimension, padded_dimension: cache.paddedDimension,
          page_tokens: KVPages.pageTokens, key_pages: keys.baseAddress, value_pages: values.baseAddress)
        forEachRow(cache.heads, columns: tokens * cache.headDimension, pool) { head in
          var copy = unsafe task
          unsafe store(&copy, head)
        }
      }
    }
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
  ///   - y: `[T, heads * valueDimension]`.
  ///
  /// Float32, online softmax over tiles of 64 keys that begin at multiples of 64.
  /// Source: Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135.
  public func attention(
    _ q: Rows, cache: KVPages, heads: Int, scale: Float, window: Int = 0, softcap: Float = 0,
    slopes: UnsafePointer<Float>? = nil, sinks: UnsafePointer<Float>? = nil, into y: Rows,
    workspace: Workspace, pool: ThreadPool
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
    workspace.reserve(
      threadCount: pool.threadCount,
      floatCount: ck_attention_scratch(blockTokens * group, cache.headDimension, cache.paddedDimension))
    let functions = unsafe self.functions.attention
    guard let function = unsafe cache.element == .f32 ? functions.0 : functions.1 else { return }
    let keyPages = unsafe cache.keyPages.map { unsafe Optional(UnsafeRawPointer($0)) }
    let valuePages = unsafe cache.valuePages.map { unsafe Optional(UnsafeRawPointer($0)) }
    unsafe keyPages.withUnsafeBufferPointer { keys in
      unsafe valuePages.withUnsafeBufferPointer { values in
        pool.run(taskCount: blocks * cache.heads) { task, worker in
          // The last blocks see most keys: they go first.
          let block = blocks - 1 - task / cache.heads
          let head = task % cache.heads
          let first = block * blockTokens
          let column = head * group * cache.headDimension
          let target = head * group * cache.valueDimension
          var work = unsafe ck_attention(
            q: q[first] + column, q_stride: q.stride, y: y[first] + target, y_stride: y.stride,
            tokens: min(blockTokens, tokens - first), group: group, head_dimension: cache.headDimension,
            first_position: cache.count - tokens + first, window: window, scale: scale, softcap: softcap,
            slopes: slopes.map { unsafe $0 + head * group }, key_pages: keys.baseAddress,
            value_pages: values.baseAddress,
            key_offset: head * KVPages.pageTokens * cache.headDimension,
            value_offset: head * KVPages.pageTokens * cache.paddedDimension, page_tokens: KVPages.pageTokens,
            value_dimension: cache.valueDimension, padded_dimension: cache.paddedDimension,
            sinks: sinks.map { unsafe $0 + head * group }, scratch: workspace.scratch(worker))
          unsafe function(&work)
        }
      }
    }
    withExtendedLifetime(cache) {}
  }

  /// Query rows (tokens times heads of a group) of a task.
  private static let attentionRows = 48
}
