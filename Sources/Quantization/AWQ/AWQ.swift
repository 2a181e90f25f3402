import Codecs
import Kernels
import TensorCore

/// AWQ: columns of the weights that read the same values are scaled up where the inputs are large, and what makes those
/// values is scaled down, so that rounding hurts less where it matters.
///
/// Source: Lin et al. 2023, "AWQ: Activation-aware Weight Quantization" (arXiv 2306.00978), section 3. Scales are
/// `x^r`, or `x^r / w^(1-r)` with duo scaling, for a grid of ratios `r`; `x` is the root mean square of an input and `w` the
/// mean magnitude of its column relative to the largest weight of the group. Differences: the loss is the layers' output
/// error `tr(E H Eᵀ)` under the second moment of the inputs, exactly and without another forward pass; clipping is the
/// scale search of the codec, under the inputs' mean squares.
public struct AWQ: FoldSearch, Equatable {
  /// Which scales are tried.
  public enum Duo: String, Sendable, CaseIterable {
    /// Inputs only.
    case no = "false"
    /// Inputs and weights.
    case yes = "true"
    /// Both.
    case both
  }

  /// Ratios tried, evenly from 0 to below 1.
  public var ratioCount: Int
  /// Whether the magnitudes of the weights count.
  public var duo: Duo
  /// How scales of the codec are chosen.
  public var scaleSearch: ScaleSearch

  /// Creates the search.
  public init(ratioCount: Int = 20, duo: Duo = .both, scaleSearch: ScaleSearch = .standard) {
    self.ratioCount = ratioCount
    self.duo = duo
    self.scaleSearch = scaleSearch
  }

  /// Its options, as recipes name them.
  public static let options = [
    MethodOption(name: "ratios", defaultValue: "20", summary: "ratios tried, evenly from 0 to below 1"),
    MethodOption(
      name: "duo", defaultValue: "both", summary: "whether weights count beside inputs: true, false or both"),
    MethodOption(name: "scale-search", defaultValue: "least-squares", summary: "least-squares or extremes"),
  ]

  /// Reads options given as text.
  /// - Throws: ``QuantizationError/invalidOption(method:option:reason:)``.
  public init(options: [String: String]) throws(QuantizationError) {
    let reader = try OptionReader(transform: "awq", values: options, known: Self.options)
    self.init(
      ratioCount: try reader.integer("ratios", default: 20, in: 1...1000),
      duo: try reader.choice("duo", default: .both), scaleSearch: try reader.scaleSearch(default: .standard))
  }

  /// Searches the factors.
  /// - Parameters:
  ///   - factorOfColumn: for each column the number of its factor.
  ///   - adjust: what becomes of factors so that their producer can take them over exactly.
  /// - Throws: ``QuantizationError``.
  public func search(
    _ readers: [FoldReader], factorOfColumn: [Int], factorCount: Int, pool: ThreadPool,
    adjust: ([Float]) -> [Float]
  ) throws(QuantizationError) -> FoldOutcome {
    let ones = [Float](repeating: 1, count: factorCount)
    var best = FoldOutcome(factors: ones, relativeLoss: 1, ratio: 0, isDuo: false)
    let quantized = readers.filter {
      $0.codec != nil && $0.problem.hessian?.diagonal.contains { $0 > 0 } == true
    }
    guard !quantized.isEmpty else { return best }
    for reader in quantized { try reader.problem.validate() }
    let reference = try loss(quantized, ones, factorOfColumn, pool)
    guard reference > 0 else { return best }
    let inputs = magnitudes(quantized, factorOfColumn, factorCount)
    let weights = columnMagnitudes(quantized, factorOfColumn, factorCount)
    var bestLoss = reference
    for isDuo in duo == .both ? [false, true] : [duo == .yes] {
      try searchRatios { step throws(QuantizationError) in
        if step == 0, !isDuo { return reference }
        let ratio = Float(step) / Float(ratioCount)
        let wanted = zip(inputs, weights).map { input, weight in
          power(input, ratio) / (isDuo ? power(weight, 1 - ratio) + 1e-4 : 1)
        }
        let factors = adjust(normalized(wanted))
        let loss = try loss(quantized, factors, factorOfColumn, pool)
        if loss < bestLoss {
          bestLoss = loss
          best = FoldOutcome(
            factors: factors, relativeLoss: loss / reference, ratio: Double(ratio), isDuo: isDuo)
        }
        return loss
      }
    }
    return best
  }

  /// Every fourth ratio, then those around the best, closer and closer: the loss falls and rises once along them.
  private func searchRatios(_ loss: (Int) throws(QuantizationError) -> Double) throws(QuantizationError) {
    var known: [Int: Double] = [:]
    var stride = min(4, ratioCount)
    var tried = Array(Swift.stride(from: 0, to: ratioCount, by: stride))
    while true {
      for step in tried where known[step] == nil && (0..<ratioCount).contains(step) {
        known[step] = try loss(step)
      }
      stride /= 2
      guard stride > 0, let best = known.min(by: { ($0.value, $0.key) < ($1.value, $1.key) })?.key else {
        return
      }
      tried = [best - stride, best + stride]
    }
  }

  /// Root mean square of the inputs behind each factor.
  private func magnitudes(_ readers: [FoldReader], _ factorOfColumn: [Int], _ count: Int) -> [Float] {
    var sums = [Double](repeating: 0, count: count)
    var weights = sums
    for reader in readers {
      guard let diagonal = reader.problem.hessian?.diagonal else { continue }
      for (column, factor) in factorOfColumn.enumerated() {
        sums[factor] += Double(diagonal[column])
        weights[factor] += 1
      }
    }
    return sums.indices.map { Float((sums[$0] / max(weights[$0], 1)).squareRoot()) }
  }

  /// Mean magnitude of the columns behind each factor, relative to the largest of 128 columns of a row.
  private func columnMagnitudes(_ readers: [FoldReader], _ factorOfColumn: [Int], _ count: Int) -> [Float] {
    var sums = [Double](repeating: 0, count: count)
    var weights = sums
    for reader in readers {
      let matrix = reader.problem.weights
      for row in 0..<matrix.rows {
        for start in stride(from: 0, to: matrix.columns, by: 128) {
          let range = row * matrix.columns + start..<row * matrix.columns + min(start + 128, matrix.columns)
          let largest = matrix.values[range].reduce(Float(0)) { max($0, abs($1)) }
          guard largest > 0 else { continue }
          for index in range {
            let factor = factorOfColumn[index - row * matrix.columns]
            sums[factor] += Double(abs(matrix.values[index]) / largest)
            weights[factor] += 1
          }
        }
      }
    }
    return sums.indices.map { Float(sums[$0] / max(weights[$0], 1)) }
  }

  /// Divided by the geometric mean of the extremes; what is not positive becomes 1.
  private func normalized(_ factors: [Float]) -> [Float] {
    let usable = factors.filter { $0 > 0 && $0.isFinite }
    guard let low = usable.min(), let high = usable.max() else { return factors.map { _ in 1 } }
    let middle = (max(low, 1e-4) * high).squareRoot()
    return factors.map { $0 > 0 && $0.isFinite ? max($0, 1e-4) / middle : 1 }
  }

  private func power(_ value: Float, _ exponent: Float) -> Float {
    value > 0 ? Float(PowerFunction.power(Double(value), Double(exponent))) : 0
  }

  /// `tr(E H Eᵀ)` over all readers.
  private func loss(
    _ readers: [FoldReader], _ factors: [Float], _ factorOfColumn: [Int], _ pool: ThreadPool
  ) throws(QuantizationError) -> Double {
    let scaling = factorOfColumn.map { factors[$0] }
    var total = 0.0
    for reader in readers {
      total += try reader.weightError(scaling: scaling, search: scaleSearch, pool: pool)?.energy ?? 0
    }
    return total
  }
}
