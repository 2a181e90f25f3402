import Glibc
import SafeIO

/// Perplexity of a model over a number of predictions.
public struct PerplexityResult: Sendable, Equatable {
  /// The exponential of the mean loss.
  public var perplexity: Double
  /// One standard error of the perplexity, propagated from that of the mean loss.
  public var perplexityError: Double
  /// Predictions scored.
  public var tokens: Int

  /// Creates a result.
  public init(perplexity: Double, perplexityError: Double, tokens: Int) {
    self.perplexity = perplexity
    self.perplexityError = perplexityError
    self.tokens = tokens
  }

  /// `perplexity`, `perplexity_error`, `tokens`.
  public var json: JSONObject {
    [
      "perplexity": .number(perplexity), "perplexity_error": .number(perplexityError),
      "tokens": JSONValue(tokens),
    ]
  }
}

/// Gathers losses of predictions in the order of the text.
public struct PerplexityAccumulator: Sendable {
  private var sum = 0.0
  private var sumOfSquares = 0.0
  /// Predictions so far.
  public private(set) var count = 0

  /// An accumulator without predictions.
  public init() {}

  /// Adds the loss of one prediction, in nats.
  public mutating func add(_ loss: Double) {
    sum += loss
    sumOfSquares += loss * loss
    count += 1
  }

  /// The mean loss in nats; 0 without predictions.
  public var meanLoss: Double { count == 0 ? 0 : sum / Double(count) }

  /// Perplexity and its error as llama-perplexity computes them: the standard error of the mean loss times
  /// the perplexity.
  public var result: PerplexityResult {
    let perplexity = exp(meanLoss)
    let error = perplexity * StandardError.ofMean(sum: sum, sumOfSquares: sumOfSquares, count: count)
    return PerplexityResult(perplexity: perplexity, perplexityError: error, tokens: count)
  }
}

/// Uncertainty of means.
enum StandardError {
  /// The standard error of a mean from the sums of values and of their squares: the root of variance /
  /// (count - 1).
  ///
  /// Zero with fewer than two values. The variance is the mean square less the squared mean, and zero where
  /// rounding makes it negative.
  static func ofMean(sum: Double, sumOfSquares: Double, count: Int) -> Double {
    guard count > 1 else { return 0 }
    let mean = sum / Double(count)
    let variance = sumOfSquares / Double(count) - mean * mean
    return variance > 0 ? (variance / Double(count - 1)).squareRoot() : 0
  }
}
