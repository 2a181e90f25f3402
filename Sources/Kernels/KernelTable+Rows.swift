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

  /// `sum = a + b`, and the root mean square normalization of `sum` into `y`; `sum` may be `a` or `b`.
  /// - Parameter rounding: makes codes of each row of `y` as well, or nil.
  public func addRMSNorm(
    _ a: Rows, _ b: Rows, weight: UnsafePointer<Float>, epsilon: Float, sum: Rows, into y: Rows,
    rounding: RowRounding? = nil, pool: ThreadPool
  ) {
    unsafe requireSame(a, b)
    unsafe requireSame(a, sum)
    unsafe requireSame(a, y)
    guard let function = unsafe functions.add_rms_norm else { return }
    let rounder = unsafe rounder(rounding, y)
    unsafe forEachRow(a.rows, columns: a.columns, pool) { row in
      unsafe function(a[row], b[row], weight, epsilon, sum[row], y[row], a.columns)
      unsafe rounder?.round(y[row], row)
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

  /// `y = gelu(gate) * up`; `y` may be `gate`.
  public func geglu(gate: Rows, up: Rows, _ kind: GELU = .none, into y: Rows, pool: ThreadPool) {
    unsafe gatedProduct(gate: gate, up: up, .geglu(kind), into: y, pool: pool)
  }

  /// A function of one number.
  public enum Activation: Sendable, Equatable {
    /// x / (1 + exp(-x)).
    case silu
    /// max(x, 0).
    case relu
    /// 1 / (1 + exp(-x)).
    case sigmoid
    /// The Gaussian error linear unit.
    case gelu(GELU)
  }

  func function(for activation: Activation) -> ck_unary_fn? {
    switch activation {
    case .silu: unsafe functions.silu
    case .relu: unsafe functions.relu
    case .sigmoid: unsafe functions.sigmoid
    case .gelu(.none): unsafe functions.gelu
    case .gelu(.tanh): unsafe functions.gelu_tanh
    case .gelu(.sigmoid): unsafe functions.gelu_sigmoid
    }
  }

  /// `sum = a + b`, and the normalization of `sum` to mean zero and variance one into `y`; `sum` may be `a` or `b`.
  /// - Parameter rounding: makes codes of each row of `y` as well, or nil.
  public func addLayerNorm(
    _ a: Rows, _ b: Rows, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>?, epsilon: Float,
    sum: Rows, into y: Rows, rounding: RowRounding? = nil, pool: ThreadPool
  ) {
    unsafe requireSame(a, b)
    unsafe requireSame(a, sum)
    unsafe requireSame(a, y)
    guard let add = unsafe functions.add, let normalize = unsafe functions.layer_norm else { return }
    let rounder = unsafe rounder(rounding, y)
    unsafe forEachRow(a.rows, columns: a.columns, pool) { row in
      unsafe add(a[row], b[row], sum[row], a.columns)
      unsafe normalize(sum[row], weight, bias, epsilon, y[row], a.columns)
      unsafe rounder?.round(y[row], row)
    }
  }

  /// `y = x * factor`; `y` may be `x`.
  public func scale(_ x: Rows, by factor: Float, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.scale, factor, x, y, pool)
  }

  /// `y = cap * tanh(x / cap)`; `y` may be `x`.
  public func softcap(_ x: Rows, cap: Float, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.softcap, cap, x, y, pool)
  }

  /// Blocks of `block` columns, a power of two that divides them, times a Hadamard matrix over the square root of its size; `y`
  /// may be `x`.
  public func hadamard(_ x: Rows, block: Int, into y: Rows, pool: ThreadPool) {
    unsafe requireSame(x, y)
    unsafe precondition(block > 0 && block & (block - 1) == 0 && x.columns % block == 0, "a Hadamard block")
    guard let function = unsafe functions.hadamard else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe function(x[row], block, y[row], x.columns)
    }
  }

  /// `y = x / (1 + exp(-x))`; `y` may be `x`.
  public func silu(_ x: Rows, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.silu, x, y, pool)
  }

  /// How the Gaussian error linear unit is computed.
  public enum GELU: String, Sendable, CaseIterable {
    /// With the error function.
    case none
    /// With a hyperbolic tangent.
    case tanh
    /// With a logistic function.
    case sigmoid
  }

  /// The Gaussian error linear unit; `y` may be `x`.
  public func gelu(_ x: Rows, _ kind: GELU = .none, into y: Rows, pool: ThreadPool) {
    switch kind {
    case .none: unsafe unary(functions.gelu, x, y, pool)
    case .tanh: unsafe unary(functions.gelu_tanh, x, y, pool)
    case .sigmoid: unsafe unary(functions.gelu_sigmoid, x, y, pool)
    }
  }

  /// `y = max(x, 0)`; `y` may be `x`.
  public func relu(_ x: Rows, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.relu, x, y, pool)
  }

  /// `y = 1 / (1 + exp(-x))`; `y` may be `x`.
  public func sigmoid(_ x: Rows, into y: Rows, pool: ThreadPool) {
    unsafe unary(functions.sigmoid, x, y, pool)
  }

  /// `y = min(max(x, minimum), maximum)`; `y` may be `x`.
  public func clamp(_ x: Rows, _ minimum: Float, _ maximum: Float, into y: Rows, pool: ThreadPool) {
    unsafe requireSame(x, y)
    guard let function = unsafe functions.clamp else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe function(x[row], minimum, maximum, y[row], x.columns)
    }
  }

  /// Each row of `x` times the only column of `factor`; `y` may be `x`.
  public func scaleRows(_ x: Rows, by factor: Rows, into y: Rows, pool: ThreadPool) {
    unsafe requireSame(x, y)
    unsafe precondition(factor.rows == x.rows && factor.columns == 1, "factors of rows")
    guard let function = unsafe functions.scale else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe function(x[row], factor[row].pointee, y[row], x.columns)
    }
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
