import CKernels
import Glibc

extension KernelTable {
  /// Elements below which more threads cost more than they bring.
  private static let serialElements = 16_384

  /// Runs `body` for each row, on several threads when there is enough to do.
  func forEachRow(_ rows: Int, columns: Int, _ pool: ThreadPool, _ body: (Int) -> Void) {
    let tasks = min(rows, pool.threadCount * 4)
    guard tasks > 1, pool.threadCount > 1, rows * max(columns, 1) >= KernelTable.serialElements else {
      for row in 0..<rows { body(row) }
      return
    }
    pool.run(taskCount: tasks) { task in
      for row in rows * task / tasks..<rows * (task + 1) / tasks { body(row) }
    }
  }

  /// Root mean square normalization: `y = x / sqrt(mean(x^2) + epsilon) * weight`; `y` may be `x`.
  public func rmsNorm(_ x: Rows, weight: UnsafePointer<Float>, epsilon: Float, into y: Rows, pool: ThreadPool)
  {
    unsafe requireSame(x, y)
    guard let function = unsafe functions.rms_norm else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe function(x[row], weight, epsilon, y[row], x.columns)
    }
  }

  /// `sum = a + b`, and the root mean square normalization of `sum` into `y`; `sum` may be `a` or `b`.
  public func addRMSNorm(
    _ a: Rows, _ b: Rows, weight: UnsafePointer<Float>, epsilon: Float, sum: Rows, into y: Rows,
    pool: ThreadPool
  ) {
    unsafe requireSame(a, b)
    unsafe requireSame(a, sum)
    unsafe requireSame(a, y)
    guard let function = unsafe functions.add_rms_norm else { return }
    unsafe forEachRow(a.rows, columns: a.columns, pool) { row in
      unsafe function(a[row], b[row], weight, epsilon, sum[row], y[row], a.columns)
    }
  }

  /// `y = a + b`; `y` may be either.
  public func add(_ a: Rows, _ b: Rows, into y: Rows, pool: ThreadPool) {
    unsafe binary(functions.add, a, b, y, pool)
  }

  /// `y = a * b`, element by element; `y` may be either.
  public func multiply(_ a: Rows, _ b: Rows, into y: Rows, pool: ThreadPool) {
    unsafe binary(functions.multiply, a, b, y, pool)
  }

  /// `y = silu(gate) * up`; `y` may be either.
  public func swiglu(gate: Rows, up: Rows, into y: Rows, pool: ThreadPool) {
    unsafe binary(functions.swiglu, gate, up, y, pool)
  }

  /// `y = x * factor`; `y` may be `x`.
  public func scale(_ x: Rows, by factor: Float, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.scale, factor, x, y, pool)
  }

  /// `y = cap * tanh(x / cap)`; `y` may be `x`.
  public func softcap(_ x: Rows, cap: Float, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.softcap, cap, x, y, pool)
  }

  /// `y = x / (1 + exp(-x))`; `y` may be `x`.
  public func silu(_ x: Rows, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.silu, x, y, pool)
  }

  /// The Gaussian error linear unit, exact or in its tanh approximation; `y` may be `x`.
  public func gelu(_ x: Rows, isTanh: Bool = false, into y: Rows, pool: ThreadPool) {
    unsafe unary(isTanh ? functions.gelu_tanh : functions.gelu, x, y, pool)
  }

  /// Softmax of each row: `y = exp(x - max) / sum`; `y` may be `x`.
  public func softmax(_ x: Rows, into y: Rows, pool: ThreadPool) {
    unsafe requireSame(x, y)
    guard let function = unsafe functions.exp else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      let (maximum, sum) = unsafe sumOfExponentials(x[row], count: x.columns)
      unsafe function(x[row], maximum, Float(1 / sum), y[row], x.columns)
    }
  }

  /// `log(sum(exp(x)))` of `count` values; minus infinity when there are none.
  public func logSumExp(_ x: UnsafePointer<Float>, count: Int) -> Double {
    let (maximum, sum) = unsafe sumOfExponentials(x, count: count)
    return sum > 0 ? Double(maximum) + log(sum) : -.infinity
  }

  /// The largest value, NaN passed over, and the sum of `exp(x - maximum)`; vectors of floats, added up in double.
  public func sumOfExponentials(_ x: UnsafePointer<Float>, count: Int) -> (maximum: Float, sum: Double) {
    guard let maximumOf = unsafe functions.maximum, let sumOf = unsafe functions.sum_exp else {
      return (0, 0)
    }
    let maximum = unsafe maximumOf(x, count)
    let reference = maximum == -.infinity ? 0 : maximum
    return unsafe (reference, sumOf(x, reference, count))
  }

  /// The index of the largest value, the first of equals; NaN is passed over; 0 when there is no number.
  public func argmax(_ x: UnsafePointer<Float>, count: Int) -> Int {
    guard let function = unsafe functions.maximum else { return 0 }
    let maximum = unsafe function(x, count)
    for index in 0..<count where unsafe x[index] == maximum { return index }
    return 0
  }

  private func binary(_ function: ck_binary_fn?, _ a: Rows, _ b: Rows, _ y: Rows, _ pool: ThreadPool) {
    unsafe requireSame(a, b)
    unsafe requireSame(a, y)
    guard let function = unsafe function else { return }
    unsafe forEachRow(a.rows, columns: a.columns, pool) { row in
      unsafe function(a[row], b[row], y[row], a.columns)
    }
  }

  private func unary(_ function: ck_unary_fn?, _ x: Rows, _ y: Rows, _ pool: ThreadPool) {
    unsafe requireSame(x, y)
    guard let function = unsafe function else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in unsafe function(x[row], y[row], x.columns) }
  }

  private func unary(
    _ function: ck_unary_scalar_fn?, _ scalar: Float, _ x: Rows, _ y: Rows, _ pool: ThreadPool
  ) {
    unsafe requireSame(x, y)
    guard let function = unsafe function else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe function(x[row], scalar, y[row], x.columns)
    }
  }

  func requireSame(_ a: Rows, _ b: Rows) {
    unsafe precondition(a.rows == b.rows && a.columns == b.columns, "rows of different shapes")
  }
}
