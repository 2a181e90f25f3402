import CKernels

extension KernelTable {
  /// Root mean square normalization: `y = x / sqrt(mean(x^2) + epsilon) * weight`, for each of `heads` equal parts of a row
  /// by itself; `y` may be `x`.
  /// - Parameters:
  ///   - weight: gains of all columns of a row, or of those of a head for all.
  ///   - weightCount: how many these are; nil for all columns.
  ///   - rounding: makes codes of each row as well, or nil.
  public func rmsNorm(
    _ x: Rows, weight: UnsafePointer<Float>, weightCount: Int? = nil, epsilon: Float, heads: Int = 1,
    into y: Rows, rounding: RowRounding? = nil, pool: ThreadPool
  ) {
    guard let function = unsafe functions.rms_norm else { return }
    unsafe forEachHead(x, y, heads: heads, weightCount: weightCount, rounding, pool) {
      from, to, width, offset in
      unsafe function(from, weight + offset, epsilon, to, width)
    }
  }

  /// Normalization to mean zero and variance one: `y = (x - mean) / sqrt(variance + epsilon) * weight + bias`, for each of
  /// `heads` equal parts of a row by itself; `y` may be `x`.
  /// - Parameters:
  ///   - weight: gains of all columns of a row, or of those of a head for all.
  ///   - weightCount: how many these are; nil for all columns.
  ///   - bias: as many shifts, or nil.
  ///   - rounding: makes codes of each row as well, or nil.
  public func layerNorm(
    _ x: Rows, weight: UnsafePointer<Float>, weightCount: Int? = nil, bias: UnsafePointer<Float>?,
    epsilon: Float, heads: Int = 1, into y: Rows, rounding: RowRounding? = nil, pool: ThreadPool
  ) {
    guard let function = unsafe functions.layer_norm else { return }
    unsafe forEachHead(x, y, heads: heads, weightCount: weightCount, rounding, pool) {
      from, to, width, offset in
      unsafe function(from, weight + offset, bias.map { unsafe $0 + offset }, epsilon, to, width)
    }
  }

  private func forEachHead(
    _ x: Rows, _ y: Rows, heads: Int, weightCount: Int?, _ rounding: RowRounding?, _ pool: ThreadPool,
    _ body: (UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int, Int) -> Void
  ) {
    unsafe requireSame(x, y)
    let width = unsafe x.columns / heads
    let weightCount = unsafe weightCount ?? x.columns
    unsafe precondition(
      width * heads == x.columns && (weightCount == width || weightCount == x.columns),
      "shapes of a normalization")
    let rounder = unsafe rounder(rounding, y)
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      for head in 0..<heads {
        let column = head * width
        unsafe body(x[row] + column, y[row] + column, width, weightCount == width ? 0 : column)
      }
      unsafe rounder?.round(y[row], row)
    }
  }

  /// A rounding of rows that are about to be written.
  func rounder(_ rounding: RowRounding?, _ y: Rows) -> RowRounder? {
    rounding.map { unsafe RowRounder($0, rows: y.rows, columns: y.columns, functions) }
  }
}
