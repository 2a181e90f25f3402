import Glibc

/// One row of a base file: log-probabilities as 16-bit steps above their minimum.
public struct LogitBaseRow: Sendable, Equatable {
  /// Step between codes.
  public let scale: Float
  /// Log-probability of code 0.
  public let minimum: Float
  /// A code for each token.
  public let codes: [UInt16]

  /// Rounds the log-probabilities that `logits` give: those more than 16 below the largest are clamped, the rest lies
  /// on 65536 even steps, nearest code, ties to even. Sums in double precision, else float32, as llama-perplexity does.
  ///
  /// Nil when there are no logits, or one is NaN or positive infinity, or all are negative infinity.
  public init?(logits: [Float]) {
    guard let highest = logits.max(), highest.isFinite, !logits.contains(where: \.isNaN) else { return nil }
    let lowest = max(logits.min() ?? highest, highest - 16)
    var sum = 0.0
    for logit in logits { sum += Double(expf(logit - highest)) }
    let logSum = Float(log(sum))
    scale = (highest - lowest) / 65535
    minimum = lowest - highest - logSum
    guard scale > 0 else {
      codes = [UInt16](repeating: 0, count: logits.count)
      return
    }
    let inverse = 1 / scale
    codes = logits.map { logit in
      guard logit > lowest else { return 0 }
      return UInt16(min((inverse * (logit - lowest)).rounded(.toNearestOrEven), 65535))
    }
  }
}
