import Codecs
import Kernels
import TensorCore

/// A search of factors by which columns of weights are multiplied and what makes their inputs is divided.
public protocol FoldSearch: Sendable {
  /// The best factors.
  /// - Parameters:
  ///   - readers: the weights that read the scaled values.
  ///   - factorOfColumn: for each column the number of its factor.
  ///   - adjust: what becomes of factors so that their producer can take them over exactly.
  /// - Throws: ``QuantizationError``.
  func search(
    _ readers: [FoldReader], factorOfColumn: [Int], factorCount: Int, pool: ThreadPool,
    adjust: ([Float]) -> [Float]
  ) throws(QuantizationError) -> FoldOutcome
}

/// One of the weights that read the scaled values.
public struct FoldReader: Sendable {
  /// The weight with what is known of its inputs.
  public let problem: LayerProblem
  /// What it will be stored with; nil when it is not quantized, so that it does not matter.
  public let codec: (any Codec)?
  /// Largest magnitudes of its inputs; empty when they are not known.
  public let inputMaxima: [Float]

  /// Creates a reader.
  public init(problem: LayerProblem, codec: (any Codec)?, inputMaxima: [Float] = []) {
    self.problem = problem
    self.codec = codec
    self.inputMaxima = inputMaxima
  }
}

extension FoldReader {
  /// The weight as it would be stored with its columns multiplied, and what that does to its outputs when inputs are divided.
  /// - Parameter scaling: the factor of each column.
  /// - Returns: the rounded, scaled weight and `tr(E H Eᵀ)`; nil when the weight is not quantized.
  /// - Throws: ``QuantizationError``.
  func weightError(
    scaling: [Float], search: ScaleSearch, pool: ThreadPool
  ) throws(QuantizationError) -> (quantized: FloatMatrix, energy: Double)? {
    guard let codec else { return nil }
    let scaled = problem.scalingColumns(by: scaling)
    let quantized = try RowChunks.encode(scaled, codec: codec, search: search, pool: pool).decoded()
    // Dividing the error by the factors is dividing the inputs by them, and does not need their second moment anew.
    let inverse = scaling.map { 1 / $0 }
    var error = scaled.weights.values
    for row in 0..<quantized.rows {
      for column in inverse.indices {
        let index = row * inverse.count + column
        error[index] = (error[index] - quantized.values[index]) * inverse[column]
      }
    }
    return (quantized, OutputError(problem: problem, pool: pool).rowEnergies(error).reduce(0, +))
  }
}

/// What a search of factors found.
public struct FoldOutcome: Sendable, Equatable {
  /// Factors of the columns; ones when nothing was better.
  public var factors: [Float]
  /// Output error with these factors, relative to that without.
  public var relativeLoss: Double
  /// The ratio, or the strength; 0 when nothing was better.
  public var ratio: Double
  /// Whether weights counted beside inputs.
  public var isDuo: Bool
}

extension LayerProblem {
  /// The same layer with columns multiplied and the importance of its inputs divided; its second moment is left out.
  func scalingColumns(by factors: [Float]) -> LayerProblem {
    var weights = weights
    for row in 0..<weights.rows {
      for column in factors.indices { weights.values[row * weights.columns + column] *= factors[column] }
    }
    return LayerProblem(
      name: name, weights: weights, importance: importance.map { zip($0, factors).map { $0 / ($1 * $1) } })
  }
}
