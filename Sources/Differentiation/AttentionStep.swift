import Glibc
import Kernels
import TensorCore

/// Grouped-query attention over one whole sequence, as `OperationDefinition` says, by products of matrices a head.
///
/// Rows of scores are worked on in blocks, and each block only on the keys that some row of it sees.
struct AttentionStep: DifferentiableStep {
  let heads: Int
  let keyHeads: Int
  /// Columns of a head of queries and keys.
  let width: Int
  /// Columns of a head of values.
  let valueWidth: Int
  let scale: Float
  let isCausal: Bool
  /// 0 for none.
  let window: Int
  /// 0 for none.
  let cap: Float
  /// Empty for none.
  let slopes: [Float]
  /// Scores without a value, one a head; empty for none.
  let sinks: [Float]

  private static let blockRows = 128

  /// Saves the weights of the keys, `[heads * T, T]`.
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let (q, v) = (operands[0], operands[2])
    let length = q.rows
    let outputColumns = heads * valueWidth
    var y = FloatMatrix(zeros: length, outputColumns)
    var weights = FloatMatrix(zeros: heads * length, length)
    for head in 0..<heads {
      let keyHead = head / (heads / keyHeads)
      for rows in blocks(length) {
        let keys = visible(to: rows, length)
        let place = (head * length + rows.lowerBound) * length + keys.lowerBound
        unsafe weights.values.withUnsafeMutableBufferPointer { weights in
          guard let block = unsafe weights.baseAddress.map({ unsafe $0 + place }) else { return }
          unsafe scores(of: operands, head: head, rows: rows, keys: keys, into: block, stride: length)
          for row in rows {
            unsafe normalize(
              block + (row - rows.lowerBound) * length, row: row, keys: keys, head: head, length)
          }
          unsafe v.values.withUnsafeBufferPointer { values in
            unsafe y.values.withUnsafeMutableBufferPointer { target in
              guard let values = values.baseAddress, let target = target.baseAddress else { return }
              unsafe BLAS.multiply(
                block, lda: length, values + keys.lowerBound * v.columns + keyHead * valueWidth,
                ldb: v.columns,
                m: rows.count, n: valueWidth, k: keys.count,
                into: target + rows.lowerBound * outputColumns + head * valueWidth, ldc: outputColumns)
            }
          }
        }
      }
    }
    return StepResult(y, saved: [weights])
  }

  private func blocks(_ length: Int) -> [Range<Int>] {
    stride(from: 0, to: length, by: Self.blockRows).map { $0..<min($0 + Self.blockRows, length) }
  }

  /// Keys that at least one of the rows sees.
  private func visible(to rows: Range<Int>, _ length: Int) -> Range<Int> {
    let low = window > 0 ? max(0, rows.lowerBound - window + 1) : 0
    return low..<(isCausal ? rows.upperBound : length)
  }

  /// `scale * q kᵀ`, and what the cap makes of it.
  private func scores(
    of operands: [FloatMatrix], head: Int, rows: Range<Int>, keys: Range<Int>,
    into block: UnsafeMutablePointer<Float>, stride: Int
  ) {
    let (q, k) = (operands[0], operands[1])
    let keyHead = head / (heads / keyHeads)
    unsafe q.values.withUnsafeBufferPointer { queries in
      unsafe k.values.withUnsafeBufferPointer { others in
        guard let queries = queries.baseAddress, let others = others.baseAddress else { return }
        unsafe BLAS.multiply(
          queries + rows.lowerBound * q.columns + head * width, lda: q.columns,
          others + keys.lowerBound * k.columns + keyHead * width, ldb: k.columns, transposingB: true,
          m: rows.count, n: keys.count, k: width, alpha: scale, into: block, ldc: stride)
      }
    }
    guard cap > 0 else { return }
    for row in 0..<rows.count {
      for key in 0..<keys.count {
        let place = row * stride + key
        unsafe block[place] = cap * tanhf(block[place] / cap)
      }
    }
  }

  /// Softmax over the keys that the row sees; zeros for those that only other rows of the block see.
  private func normalize(
    _ scores: UnsafeMutablePointer<Float>, row: Int, keys: Range<Int>, head: Int, _ length: Int
  ) {
    let own = visible(to: row..<row + 1, length)
    let first = own.lowerBound - keys.lowerBound
    if !slopes.isEmpty {
      for key in own { unsafe scores[key - keys.lowerBound] += slopes[head] * Float(key - row) }
    }
    for place in 0..<first { unsafe scores[place] = 0 }
    for place in first + own.count..<max(keys.count, first + own.count) { unsafe scores[place] = 0 }
    let seen = unsafe Rows(scores + first, rows: 1, columns: own.count)
    let total = sinks.isEmpty ? 0 : unsafe KernelTable.best.logSumExp(scores + first, count: own.count)
    unsafe KernelTable.best.softmax(seen, into: seen, pool: SerialPool.pool)
    guard !sinks.isEmpty else { return }
    // The share that is left beside the sink.
    let share = Float(1 / (1 + exp(Double(sinks[head]) - total)))
    for place in first..<first + own.count { unsafe scores[place] *= share }
  }

  /// With weights `P`: `dv = Pᵀ dy`, `dP = dy vᵀ`, `dS = P (dP - sum(dP P))`, times the cap's slope, `dq = scale dS k`,
  /// `dk = scale dSᵀ q`; heads that share keys add up.
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let (q, k, v) = (call.operands[0], call.operands[1], call.operands[2])
    let length = q.rows
    var gradients = (q: q.zeros, k: k.zeros, v: v.zeros)
    var block = [Float](repeating: 0, count: Self.blockRows * length)
    var capped = cap > 0 ? block : []
    for head in 0..<heads {
      let keyHead = head / (heads / keyHeads)
      for rows in blocks(length) {
        let keys = visible(to: rows, length)
        let queryPlace = rows.lowerBound * q.columns + head * width
        let keyPlace = keys.lowerBound * k.columns + keyHead * width
        let valuePlace = keys.lowerBound * v.columns + keyHead * valueWidth
        let outputColumns = heads * valueWidth
        let outputPlace = rows.lowerBound * outputColumns + head * valueWidth
        unsafe call.saved[0].values.withUnsafeBufferPointer { weights in
          unsafe call.gradients[0].values.withUnsafeBufferPointer { gradient in
            unsafe q.values.withUnsafeBufferPointer { queries in
              unsafe k.values.withUnsafeBufferPointer { others in
                unsafe v.values.withUnsafeBufferPointer { values in
                  guard
                    let weight = unsafe weights.baseAddress.map({
                      unsafe $0 + (head * length + rows.lowerBound) * length + keys.lowerBound
                    }), let gradient = gradient.baseAddress, let queries = queries.baseAddress,
                    let others = others.baseAddress, let values = values.baseAddress
                  else { return }
                  // dv += Pᵀ dy
                  unsafe gradients.v.values.withUnsafeMutableBufferPointer { target in
                    guard let target = target.baseAddress else { return }
                    unsafe BLAS.multiply(
                      weight, lda: length, transposingA: true, gradient + outputPlace, ldb: outputColumns,
                      m: keys.count, n: valueWidth, k: rows.count, beta: 1, into: target + valuePlace,
                      ldc: v.columns
                    )
                  }
                  // dP = dy vᵀ
                  unsafe BLAS.multiply(
                    gradient + outputPlace, lda: outputColumns, values + valuePlace, ldb: v.columns,
                    transposingB: true, m: rows.count, n: keys.count, k: valueWidth, into: &block, ldc: length
                  )
                  unsafe scoreGradients(
                    call.operands, head: head, rows: rows, keys: keys, weight: weight, block: &block,
                    capped: &capped)
                  // dq = scale dS k, dk += scale dSᵀ q
                  unsafe gradients.q.values.withUnsafeMutableBufferPointer { target in
                    guard let target = target.baseAddress else { return }
                    unsafe BLAS.multiply(
                      block, lda: length, others + keyPlace, ldb: k.columns, m: rows.count, n: width,
                      k: keys.count, alpha: scale, into: target + queryPlace, ldc: q.columns)
                  }
                  unsafe gradients.k.values.withUnsafeMutableBufferPointer { target in
                    guard let target = target.baseAddress else { return }
                    unsafe BLAS.multiply(
                      block, lda: length, transposingA: true, queries + queryPlace, ldb: q.columns,
                      m: keys.count, n: width, k: rows.count, alpha: scale, beta: 1, into: target + keyPlace,
                      ldc: k.columns)
                  }
                }
              }
            }
          }
        }
      }
    }
    return [gradients.q, gradients.k, gradients.v] + call.operands.dropFirst(3).map { _ in nil }
  }

  /// Turns gradients of the weights of a block into gradients of its scores before scaling, in place.
  private func scoreGradients(
    _ operands: [FloatMatrix], head: Int, rows: Range<Int>, keys: Range<Int>, weight: UnsafePointer<Float>,
    block: inout [Float], capped: inout [Float]
  ) {
    let length = operands[0].rows
    if cap > 0 {
      unsafe capped.withUnsafeMutableBufferPointer { capped in
        guard let start = capped.baseAddress else { return }
        unsafe scores(of: operands, head: head, rows: rows, keys: keys, into: start, stride: length)
      }
    }
    unsafe block.withUnsafeMutableBufferPointer { block in
      for row in 0..<rows.count {
        let start = row * length
        var sum = 0.0
        for key in 0..<keys.count {
          sum += unsafe Double(block[start &+ key]) * Double(weight[start &+ key])
        }
        let mean = Float(sum)
        for key in 0..<keys.count {
          unsafe block[start &+ key] = weight[start &+ key] * (block[start &+ key] - mean)
        }
        guard cap > 0 else { continue }
        for key in 0..<keys.count {
          let ratio = capped[start + key] / cap
          unsafe block[start &+ key] *= 1 - ratio * ratio
        }
      }
    }
  }
}
