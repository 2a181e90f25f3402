import CKernels
import Codecs
import Glibc

extension KernelTable {
  /// What attention multiplies and adds before its softmax; see ``attention(_:cache:heads:scale:window:softcap:slopes:sinks:into:workspace:pool:)``.
  public struct AttentionScores: Sendable {
    /// Query heads.
    public var heads: Int
    /// Factor of the logits.
    public var scale: Float
    /// Logits become `cap * tanh(logit / cap)`; 0 for none.
    public var softcap: Float
    /// One number a head for each key further on; nil for none.
    public var slopes: [Float]?
    /// One logit a head without a value; nil for none.
    public var sinks: [Float]?

    /// Creates parameters.
    public init(
      heads: Int, scale: Float, softcap: Float = 0, slopes: [Float]? = nil, sinks: [Float]? = nil
    ) {
      self.heads = heads
      self.scale = scale
      self.softcap = softcap
      self.slopes = slopes
      self.sinks = sinks
    }
  }

  /// How much each entry of a cache is attended to: weights of the softmax, summed over query rows and over the query heads that
  /// share a key/value head.
  ///
  /// Not for hot paths: keys are read back to float32 and multiplied by OpenBLAS, beside attention and after it.
  /// - Parameters:
  ///   - q: `[T, heads * headDimension]`, rotated already; the last `T` tokens of the cache.
  ///   - cache: keys up to the last of these tokens; without a window.
  /// - Returns: for each key/value head `cache.count` sums.
  public func attentionMass(_ q: Rows, cache: KVPages, _ scores: AttentionScores, pool: ThreadPool)
    -> [[Float]]
  {
    unsafe precondition(
      q.columns == scores.heads * cache.headDimension && scores.heads % cache.heads == 0
        && q.rows <= cache.count, "shapes of attention")
    var flat = [Float](repeating: 0, count: cache.heads * cache.count)
    let count = cache.count
    unsafe flat.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress, unsafe q.rows > 0 else { return }
      pool.run(taskCount: cache.heads) { head, _ in
        unsafe addMass(q, cache, scores, head, into: start + head * count)
      }
    }
    return (0..<cache.heads).map { Array(flat[$0 * count..<($0 + 1) * count]) }
  }

  /// The same for one key/value head.
  private func addMass(
    _ q: Rows, _ cache: KVPages, _ scores: AttentionScores, _ head: Int,
    into mass: UnsafeMutablePointer<Float>
  ) {
    let (count, dimension) = (cache.count, cache.headDimension)
    let group = scores.heads / cache.heads
    let keys = cache.keys(head: head)
    let block = cache.format.rotation == .none ? 0 : KVFormat.rotationBlock(dimension)
    let step = max(1, 64 / group)
    var logits = [Float](repeating: 0, count: step * group * count)
    for first in unsafe stride(from: 0, to: q.rows, by: step) {
      let tokens = unsafe min(step, q.rows - first)
      var queries: [Float] = []
      for row in 0..<tokens * group {
        let start = unsafe q[first + row / group] + (head * group + row % group) * dimension
        var query = unsafe Array(UnsafeBufferPointer(start: start, count: dimension))
        KernelTable.rotate(&query, block: block)
        queries += query
      }
      unsafe BLAS.multiply(
        queries, lda: dimension, keys, ldb: dimension, transposingB: true, m: tokens * group, n: count,
        k: dimension, alpha: scores.scale, into: &logits, ldc: count)
      unsafe logits.withUnsafeMutableBufferPointer { buffer in
        guard let start = buffer.baseAddress else { return }
        for row in 0..<tokens * group {
          let visible = unsafe count - q.rows + first + row / group + 1
          unsafe weigh(start + row * count, visible, scores, head * group + row % group)
          for key in 0..<visible { unsafe mass[key] += start[row * count + key] }
        }
      }
    }
  }

  /// Turns the first logits of a row into weights of the softmax.
  private func weigh(
    _ row: UnsafeMutablePointer<Float>, _ count: Int, _ scores: AttentionScores, _ head: Int
  ) {
    guard let exponential = unsafe functions.exp, let maximum = unsafe functions.maximum else { return }
    if scores.softcap > 0 {
      for key in 0..<count { unsafe row[key] = scores.softcap * tanhf(row[key] / scores.softcap) }
    }
    if let slope = scores.slopes?[head] {
      for key in 0..<count { unsafe row[key] += slope * Float(key - (count - 1)) }
    }
    let sink = scores.sinks?[head] ?? -.infinity
    let largest = unsafe max(maximum(row, count), sink)
    guard largest.isFinite else { return }
    unsafe exponential(row, largest, 1, row, count)
    var total = sink.isFinite ? Double(expf(sink - largest)) : 0
    for key in 0..<count { unsafe total += Double(row[key]) }
    let factor = Float(1 / total)
    for key in 0..<count { unsafe row[key] *= factor }
  }

  /// Multiplies blocks of a vector with Hadamard matrices over the square root of their size, as caches do with keys.
  private static func rotate(_ vector: inout [Float], block: Int) {
    guard block > 1 else { return }
    let factor = 1 / Float(block).squareRoot()
    for start in stride(from: 0, to: vector.count - block + 1, by: block) {
      var half = 1
      while half < block {
        for index in 0..<block where index & half == 0 {
          let (a, b) = (vector[start + index], vector[start + index + half])
          vector[start + index] = a + b
          vector[start + index + half] = a - b
        }
        half *= 2
      }
      for index in 0..<block { vector[start + index] *= factor }
    }
  }
}
