import Codecs
import Kernels

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
