import Glibc

/// Losses of single predictions: minus the natural logarithm of the probability that the logits give a token.
///
/// Logits are float32; everything after them is computed in Double, in an order that depends on nothing but
/// the row's length.
public enum NextTokenLoss {
  /// The logarithm of the sum of the exponentials, in Double with a relative error below 1e-12.
  ///
  /// Minus infinity is allowed (a masked token); the result is NaN when a logit is NaN or plus infinity or
  /// when all are masked.
  public static func logSumExp(_ logits: UnsafeBufferPointer<Float>) -> Double {
    let row = unsafe LogitRow(logits)
    let maximum = Double(row.maximum().value)
    return maximum + log(exponentialSum(row, maximum: maximum))
  }

  /// The loss of predicting `target`; plus infinity when the target is masked, NaN when ``logSumExp(_:)`` is.
  public static func loss(_ logits: UnsafeBufferPointer<Float>, target: Int) -> Double {
    let row = unsafe LogitRow(logits)
    let maximum = Double(row.maximum().value)
    // Relative to the maximum, so that large logits do not swallow the logarithm.
    return log(exponentialSum(row, maximum: maximum)) - (Double(row[target]) - maximum)
  }

  /// Sum of `exp(logit - maximum)` over the row.
  static func exponentialSum(_ row: LogitRow, maximum: Double) -> Double {
    let shift = SIMD8<Double>(repeating: maximum)
    var sums = SIMD8<Double>.zero
    for index in 0..<row.groupCount {
      sums += VectorExponential.of(SIMD8(exactly: row.group(index)) - shift)
    }
    return sums.sum()
  }
}
