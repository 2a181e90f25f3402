import Glibc
import GraphIR

/// Frequencies of a rotary position embedding, after context scaling.
struct RotaryEmbedding: Equatable {
  /// Base of the frequencies.
  let theta: Double
  /// Columns of a head that are rotated.
  let dimension: Int
  let scaling: Scaling
  /// One frequency a pair, float32.
  private(set) var inverseFrequencies: [Float]
  /// What cosine and sine are multiplied by.
  private(set) var magnitude = 1.0
  /// Frequencies for sequences longer than ``context``, where there are some.
  private(set) var longFrequencies: [Float]?
  /// Length from which on frequencies are others; 0 when they never are.
  private(set) var context = 0
  /// How much they slow down as the sequence grows beyond the context; 0 for not at all.
  private(set) var growth = 0.0

  /// How frequencies are stretched to longer contexts.
  enum Scaling: Equatable {
    case none
    /// All frequencies divided by the factor.
    case linear(factor: Double)
    /// The base grows with the sequence beyond the context.
    case dynamic(factor: Double, context: Int)
    /// Long waves divided by the factor, short ones kept, those between blended.
    case llama3(factor: Double, low: Double, high: Double, originalContext: Int)
    /// The same with a linear ramp between dimensions.
    case yarn(Yarn)
    /// Each frequency divided by a factor of its own, others for long sequences.
    case long(short: [Float], long: [Float], originalContext: Int, magnitude: Double)

    /// Parameters of YaRN.
    struct Yarn: Equatable {
      var factor: Double
      var fast: Double
      var slow: Double
      var isTruncated: Bool
      var originalContext: Int
      var magnitude: Double

      /// Whether every parameter but factor and context is the paper's.
      var hasStandardShape: Bool {
        fast == 32 && slow == 1 && isTruncated
          && abs(magnitude - RotarySettings.yarnMagnitude(factor, 1)) < 1e-6
      }
    }
  }

  /// Frequencies `1 / theta^(2i / dimension)` and their scaling, each step rounded to float32 as transformers does: far
  /// positions turn by many radians, so that other roundings would be seen there.
  ///
  /// Source: Su et al. 2021 (arXiv 2104.09864), section 3.2.2; Llama 3.1's scaling after its published reference.
  init(theta: Double, dimension: Int, scaling: Scaling) {
    self.theta = theta
    self.dimension = dimension
    self.scaling = scaling
    let waves = stride(from: 0, to: dimension - 1, by: 2).map { index in
      Float(pow(Double(Float(theta)), Double(Float(index) / Float(dimension))))
    }
    inverseFrequencies = waves.map { 1 / $0 }
    switch scaling {
    case .none: break
    case .linear(let factor): inverseFrequencies = inverseFrequencies.map { $0 / Float(factor) }
    case .dynamic(let factor, let context):
      growth = factor
      self.context = context
    case .llama3(let factor, let low, let high, let context):
      inverseFrequencies = inverseFrequencies.map {
        Self.llama3($0, factor: factor, low: low, high: high, context: context)
      }
    case .yarn(let yarn):
      inverseFrequencies = Self.yarn(waves, yarn, theta: theta, dimension: dimension)
      magnitude = yarn.magnitude
    case .long(let short, let long, let originalContext, let magnitude):
      inverseFrequencies = zip(short, waves).map { 1 / ($0 * $1) }
      longFrequencies = zip(long, waves).map { 1 / ($0 * $1) }
      context = originalContext
      self.magnitude = magnitude
    }
  }

  private static func llama3(
    _ frequency: Float, factor: Double, low: Double, high: Double, context: Int
  ) -> Float {
    let wavelength = 2 * Float.pi / frequency
    if wavelength < Float(Double(context) / high) { return frequency }
    if wavelength > Float(Double(context) / low) { return frequency / Float(factor) }
    let smooth = (Float(context) / wavelength - Float(low)) / Float(high - low)
    return (1 - smooth) * frequency / Float(factor) + smooth * frequency
  }

  /// Source: Peng et al. 2023 (arXiv 2309.00071), section 3.2.
  private static func yarn(
    _ waves: [Float], _ yarn: Scaling.Yarn, theta: Double, dimension: Int
  ) -> [Float] {
    func place(of rotations: Double) -> Double {
      Double(dimension) * log(Double(yarn.originalContext) / (rotations * 2 * .pi)) / (2 * log(theta))
    }
    var (low, high) = (place(of: yarn.fast), place(of: yarn.slow))
    if yarn.isTruncated { (low, high) = (low.rounded(.down), high.rounded(.up)) }
    (low, high) = (max(low, 0), min(high, Double(dimension - 1)))
    if low == high { high += 0.001 }
    return waves.enumerated().map { index, wave in
      let ramp = min(max((Float(index) - Float(low)) / Float(high - low), 0), 1)
      let kept = 1 - ramp
      return 1 / (Float(yarn.factor) * wave) * (1 - kept) + 1 / wave * kept
    }
  }
}
