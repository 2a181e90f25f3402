import Kernels

/// What was seen of the inputs of one or several linear layers that share them.
public struct InputStatistics: Sendable, Equatable {
  /// Tokens seen.
  public var tokenCount: Int
  /// Those among them that do not go to these layers, but to other experts.
  public var borrowedTokenCount = 0
  /// Sum of squares of each input, over the tokens.
  public var squareSums: [Double]
  /// Largest magnitude of each input.
  public var maxima: [Float]
  /// Sum of `x xᵀ`, `columns * columns`, symmetric; nil when it was not asked for.
  public var secondMomentSum: [Float]?
  /// Sum of `(x' - x) xᵀ`, `columns * columns`, with `x'` the inputs of the unquantized model; nil when it was not asked for
  /// or nothing before is quantized. Files of statistics do not hold it.
  public var driftSum: [Float]?
  /// Sum of `x xᵀ` over the tokens of the drift, which may be fewer than were seen; nil when that is nil.
  public var driftMomentSum: [Float]?
  /// Tokens in those two sums.
  public var driftTokenCount = 0

  /// Nothing seen yet.
  public init(columns: Int, withSecondMoment: Bool) {
    tokenCount = 0
    squareSums = [Double](repeating: 0, count: columns)
    maxima = [Float](repeating: 0, count: columns)
    secondMomentSum = withSecondMoment ? [Float](repeating: 0, count: columns * columns) : nil
  }

  /// Input features.
  public var columns: Int { squareSums.count }

  /// Mean square of each input.
  public var meanSquares: [Float] { squareSums.map { Float($0 / Double(max(tokenCount, 1))) } }

  /// Mean of `x xᵀ`, when the sum is there.
  public var secondMoment: [Float]? {
    let inverse = 1 / Float(max(tokenCount, 1))
    return secondMomentSum.map { $0.map { $0 * inverse } }
  }

  /// Adds what others saw of the same inputs.
  /// - Throws: ``CalibrationError/statisticsMismatch(reason:)``.
  public mutating func merge(_ other: InputStatistics) throws(CalibrationError) {
    guard other.columns == columns, (other.secondMomentSum == nil) == (secondMomentSum == nil),
      (other.driftSum == nil) == (driftSum == nil)
    else {
      throw .statisticsMismatch(
        reason: "statistics of \(columns) and \(other.columns) inputs cannot be merged")
    }
    let (tokens, overflow) = tokenCount.addingReportingOverflow(other.tokenCount)
    guard !overflow else { throw .statisticsMismatch(reason: "the numbers of tokens overflow when added") }
    tokenCount = tokens
    borrowedTokenCount += other.borrowedTokenCount
    for index in squareSums.indices {
      squareSums[index] += other.squareSums[index]
      maxima[index] = max(maxima[index], other.maxima[index])
    }
    if let sums = other.secondMomentSum {
      for index in sums.indices { secondMomentSum?[index] += sums[index] }
    }
    driftTokenCount += other.driftTokenCount
    if let sums = other.driftSum {
      for index in sums.indices { driftSum?[index] += sums[index] }
    }
    if let sums = other.driftMomentSum {
      for index in sums.indices { driftMomentSum?[index] += sums[index] }
    }
  }
}
