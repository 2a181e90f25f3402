import Codecs
import Kernels
import TensorCore

/// SmoothQuant: columns of inputs that are large are divided, and the columns of the weights that read them multiplied, so that
/// both can be rounded to 8 bits.
///
/// Source: Xiao et al. 2022, "SmoothQuant" (arXiv 2211.10438), equation 4: `s_j = max|x_j|^a / max|w_j|^(1-a)`. Beside a fixed
/// strength `a`, the one of a grid is found that has the smallest expected output error: that of the weights, `tr(E H E')`,
/// plus that of the inputs, whose codes are off by a twelfth of a squared step each. A token's largest number is taken as three
/// times the largest root mean square of its columns.
public struct SmoothQuant: FoldSearch, Equatable {
  /// The migration strength; nil to search it.
  public var strength: Float?
  /// Strengths tried, evenly from 0 to 1.
  public var steps: Int

  /// Creates the search.
  public init(strength: Float? = nil, steps: Int = 20) {
    self.strength = strength
    self.steps = steps
  }

  /// Its options, as recipes name them.
  public static let options = [
    MethodOption(
      name: "strength", defaultValue: "search", summary: "migration strength from 0 to 1, or search"),
    MethodOption(name: "steps", defaultValue: "20", summary: "strengths tried, evenly from 0 to 1"),
  ]

  /// Reads options given as text.
  /// - Throws: ``QuantizationError/invalidOption(method:option:reason:)``.
  public init(options: [String: String]) throws(QuantizationError) {
    let reader = try OptionReader(transform: "smoothquant", values: options, known: Self.options)
    self.init(steps: try reader.integer("steps", default: 20, in: 1...1000))
    guard let text = options["strength"], text != "search" else { return }
    guard let value = Float(text), (0...1).contains(value) else {
      throw .invalidOption(
        method: "smoothquant", option: "strength", reason: "'\(text)' is neither 0 to 1 nor search")
    }
    strength = value
  }

  /// The factors; ones when no weight is quantized.
  public func search(
    _ readers: [FoldReader], factorOfColumn: [Int], factorCount: Int, pool: ThreadPool,
    adjust: ([Float]) -> [Float] = { $0 }
  ) throws(QuantizationError) -> FoldOutcome {
    let ones = [Float](repeating: 1, count: factorCount)
    var best = FoldOutcome(factors: ones, relativeLoss: 1, ratio: 0, isDuo: false)
    let quantized = readers.filter { $0.codec != nil && !$0.inputMaxima.isEmpty }
    guard !quantized.isEmpty else { return best }
    for reader in quantized { try reader.problem.validate() }
    let ranges = Ranges(quantized, factorOfColumn, factorCount)
    let reference = try loss(quantized, ones, factorOfColumn, pool)
    guard strength == nil else {
      best.factors = adjust(ranges.factors(strength: strength ?? 0.5))
      best.ratio = Double(strength ?? 0.5)
      best.relativeLoss =
        reference > 0 ? try loss(quantized, best.factors, factorOfColumn, pool) / reference : 1
      return best
    }
    var bestLoss = reference
    for step in 0...steps {
      let tried = Float(step) / Float(steps)
      let factors = adjust(ranges.factors(strength: tried))
      let loss = try loss(quantized, factors, factorOfColumn, pool)
      guard loss < bestLoss else { continue }
      bestLoss = loss
      best = FoldOutcome(factors: factors, relativeLoss: loss / reference, ratio: Double(tried), isDuo: false)
    }
    return best
  }

  /// Expected squared error of the outputs, over all readers.
  private func loss(
    _ readers: [FoldReader], _ factors: [Float], _ factorOfColumn: [Int], _ pool: ThreadPool
  ) throws(QuantizationError) -> Double {
    let scaling = factorOfColumn.map { factors[$0] }
    var total = 0.0
    for reader in readers {
      guard let error = try reader.weightError(scaling: scaling, search: .extremes, pool: pool) else {
        continue
      }
      let squares = reader.problem.hessian?.diagonal ?? reader.inputMaxima.map { $0 * $0 / 9 }
      let largest = zip(squares, scaling).reduce(Float(0)) { max($0, $1.0 / ($1.1 * $1.1)) }
      let step = 3 * Double(largest).squareRoot() / 127
      total += error.energy
      total += step * step / 12 * error.quantized.values.reduce(0.0) { $0 + Double($1) * Double($1) }
    }
    return total
  }

  /// Largest magnitudes of inputs and weights behind each factor.
  private struct Ranges {
    var inputs: [Float]
    var weights: [Float]

    init(_ readers: [FoldReader], _ factorOfColumn: [Int], _ count: Int) {
      inputs = [Float](repeating: 0, count: count)
      weights = inputs
      for reader in readers {
        let matrix = reader.problem.weights
        for (column, factor) in factorOfColumn.enumerated() {
          inputs[factor] = max(inputs[factor], reader.inputMaxima[column])
        }
        for index in matrix.values.indices {
          let factor = factorOfColumn[index % matrix.columns]
          weights[factor] = max(weights[factor], abs(matrix.values[index]))
        }
      }
    }

    /// `inputs^a / weights^(1-a)`, with the geometric mean of the extremes as 1; what has no range stays as it is.
    func factors(strength: Float) -> [Float] {
      let raw = zip(inputs, weights).map { input, weight -> Float in
        guard input > 0, weight > 0, input.isFinite, weight.isFinite else { return 0 }
        return Float(
          PowerFunction.power(Double(input), Double(strength))
            / PowerFunction.power(Double(weight), Double(1 - strength)))
      }
      let usable = raw.filter { $0 > 0 && $0.isFinite }
      guard let low = usable.min(), let high = usable.max() else { return raw.map { _ in 1 } }
      let middle = (low * high).squareRoot()
      return raw.map { $0 > 0 && $0.isFinite ? min(max($0 / middle, 1e-4), 1e4) : 1 }
    }
  }
}
