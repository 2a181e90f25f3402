import Codecs
import TensorCore

/// The second moment of a linear layer's inputs, `H = mean(x xᵀ)` over the calibration tokens: the quadratic form in
/// which the layer's output error is measured (Frantar et al. 2022, "GPTQ", section 3, up to a constant factor).
public struct Hessian: Sendable {
  /// Input features.
  public let size: Int
  /// `size * size` values, symmetric, row-major.
  public let values: [Float]
  /// Tokens that it was summed over.
  public let tokenCount: Int

  /// Adopts values.
  /// - Throws: ``TensorCoreError/shapeMismatch(expected:found:)``.
  public init(size: Int, values: [Float], tokenCount: Int) throws(TensorCoreError) {
    guard try Checked.product(size, size) == values.count else {
      throw .shapeMismatch(expected: "\(size) x \(size)", found: "\(values.count) values")
    }
    self.size = size
    self.values = values
    self.tokenCount = tokenCount
  }

  /// Adopts values that are known to be `size * size`.
  init(size: Int, adopting values: [Float], tokenCount: Int) {
    self.size = size
    self.values = values
    self.tokenCount = tokenCount
  }

  /// Mean square of each input.
  public var diagonal: [Float] { (0..<size).map { values[$0 * size + $0] } }
}

/// One weight to quantize, with what is known of its inputs.
public struct LayerProblem: Sendable {
  /// Name of the weight, for reports and errors.
  public let name: String
  /// `[out, in]`.
  public let weights: FloatMatrix
  /// Second moment of the inputs, for methods that compensate errors.
  public let hessian: Hessian?
  /// Mean square of each input, for the weighted choice of scales; taken from the Hessian when that is given.
  public let importance: [Float]?
  /// What quantized layers before did to the inputs; nil when nothing before is quantized or it is not known.
  public let drift: InputDrift?

  /// Creates a problem.
  public init(
    name: String, weights: FloatMatrix, hessian: Hessian? = nil, importance: [Float]? = nil,
    drift: InputDrift? = nil
  ) {
    self.name = name
    self.weights = weights
    self.hessian = hessian
    self.importance = hessian?.diagonal ?? importance
    self.drift = drift
  }
}

/// What a method made of a layer.
public struct LayerSolution: Sendable {
  /// The quantized weight.
  public let matrix: EncodedMatrix
  /// How it went.
  public internal(set) var report: LayerReport

  /// Creates a solution.
  public init(matrix: EncodedMatrix, report: LayerReport) {
    self.matrix = matrix
    self.report = report
  }
}

/// How the quantization of one layer went; nothing that deviates from the method's plain course is left out.
public struct LayerReport: Sendable, Equatable {
  /// Name of the weight.
  public var layer: String
  /// The method asked for.
  public var method: String
  /// Canonical name of the codec.
  public var codec: String
  /// Output error relative to the output's energy, `tr(E H Eᵀ) / tr(W H Wᵀ)`; the same with `H = I` when nothing is known of the inputs.
  public var relativeError: Double
  /// The same for plain rounding with the same codec and scale search.
  public var roundingRelativeError: Double
  /// Calibration tokens behind the statistics; 0 without.
  public var tokenCount: Int
  /// Inputs that no calibration token excited.
  public var deadColumnCount: Int
  /// Rows that kept plain rounding because the method's result was no better on the calibration data.
  public var roundedRowCount: Int
  /// Damping of the diagonal, as a share of its mean, that made the factorization succeed.
  public var damping: Double
  /// Factorizations that failed before.
  public var dampingRetryCount: Int
  /// Why the whole layer fell back to rounding; nil when it did not.
  public var fallback: String?
  /// The method's relative error before its codes and scales were refined; nil when they were not.
  public var unrefinedRelativeError: Double?
  /// Why nothing was done about what earlier layers did to the inputs although the method was asked to; nil when it was.
  public var uncorrected: String?
  /// Storage in bits per weight.
  public var bitsPerWeight: Double

  /// Creates a report; what is left out took its plain course.
  public init(
    layer: String, method: String, codec: String, relativeError: Double, roundingRelativeError: Double,
    tokenCount: Int = 0, deadColumnCount: Int = 0, roundedRowCount: Int = 0, damping: Double = 0,
    dampingRetryCount: Int = 0, fallback: String? = nil, unrefinedRelativeError: Double? = nil,
    uncorrected: String? = nil, bitsPerWeight: Double = 0
  ) {
    self.layer = layer
    self.method = method
    self.codec = codec
    self.relativeError = relativeError
    self.roundingRelativeError = roundingRelativeError
    self.tokenCount = tokenCount
    self.deadColumnCount = deadColumnCount
    self.roundedRowCount = roundedRowCount
    self.damping = damping
    self.dampingRetryCount = dampingRetryCount
    self.fallback = fallback
    self.unrefinedRelativeError = unrefinedRelativeError
    self.uncorrected = uncorrected
    self.bitsPerWeight = bitsPerWeight
  }
}
