import SafeIO

/// How far a model's predictions are from those of a base.
public struct DivergenceResult: Sendable, Equatable {
  /// Mean Kullback-Leibler divergence in nats.
  public var mean: Double
  /// Standard error of the mean.
  public var error: Double
  /// Median.
  public var median: Double
  /// 99th percentile.
  public var p99: Double
  /// Largest value.
  public var maximum: Double
  /// Share of the predictions in which both hold the same token to be the likeliest, 0 ... 1.
  public var top1Agreement: Double

  /// Creates a result.
  public init(
    mean: Double, error: Double, median: Double, p99: Double, maximum: Double, top1Agreement: Double
  ) {
    self.mean = mean
    self.error = error
    self.median = median
    self.p99 = p99
    self.maximum = maximum
    self.top1Agreement = top1Agreement
  }

  /// `kl_mean`, `kl_error`, `kl_median`, `kl_p99`, `kl_max`, `top1_agreement`.
  public var json: JSONObject {
    [
      "kl_mean": .number(mean), "kl_error": .number(error), "kl_median": .number(median),
      "kl_p99": .number(p99),
      "kl_max": .number(maximum), "top1_agreement": .number(top1Agreement),
    ]
  }
}

/// Gathers divergences of predictions in the order of the text; four bytes are kept for each.
public struct DivergenceAccumulator: Sendable {
  private var sum = 0.0
  private var sumOfSquares = 0.0
  private var agreements = 0
  /// The divergences so far, in order, in nats.
  public private(set) var values: [Float] = []

  /// An accumulator without predictions.
  public init() {}

  /// Adds one prediction.
  public mutating func add(divergence: Double, agrees: Bool) {
    sum += divergence
    sumOfSquares += divergence * divergence
    agreements += agrees ? 1 : 0
    values.append(Float(divergence))
  }

  /// The figures; nil without predictions. Sorts the values, n log n.
  public var result: DivergenceResult? {
    guard !values.isEmpty else { return nil }
    let count = Double(values.count)
    let sorted = values.sorted()
    return DivergenceResult(
      mean: sum / count,
      error: StandardError.ofMean(sum: sum, sumOfSquares: sumOfSquares, count: values.count),
      median: DivergenceAccumulator.quantile(0.5, of: sorted),
      p99: DivergenceAccumulator.quantile(0.99, of: sorted),
      maximum: DivergenceAccumulator.quantile(1, of: sorted), top1Agreement: Double(agreements) / count)
  }

  /// The value below which `fraction` of the sorted values lie, linear between the two nearest. The values
  /// must not be empty.
  public static func quantile(_ fraction: Double, of sorted: [Float]) -> Double {
    let place = min(max(fraction, 0), 1) * Double(sorted.count - 1)
    let lower = Int(place)
    let rest = place - Double(lower)
    guard rest > 0, lower + 1 < sorted.count else { return Double(sorted[lower]) }
    return Double(sorted[lower]) * (1 - rest) + Double(sorted[lower + 1]) * rest
  }
}
