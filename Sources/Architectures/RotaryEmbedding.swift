import Glibc
import GraphIR
import SafeIO
import TensorCore

/// Frequencies of a rotary position embedding, after context scaling.
struct RotaryEmbedding {
  /// One frequency a pair, float32.
  let inverseFrequencies: [Float]
  /// What cosine and sine are multiplied by.
  let magnitude: Double

  /// How frequencies are stretched to longer contexts.
  enum Scaling: Equatable {
    case none
    /// All frequencies divided by the factor.
    case linear(factor: Double)
    /// Long waves divided by the factor, short ones kept, those between blended.
    case llama3(factor: Double, low: Double, high: Double, originalContext: Int)
  }

  /// Frequencies `1 / theta^(2i / dimension)` and their scaling, each step rounded to float32 as transformers does: far
  /// positions turn by many radians, so that other roundings would be seen there.
  ///
  /// Source: Su et al. 2021 (arXiv 2104.09864), section 3.2.2; Llama 3.1's scaling after its published reference.
  init(theta: Double, dimension: Int, scaling: Scaling) {
    magnitude = 1
    inverseFrequencies = stride(from: 0, to: dimension - 1, by: 2).map { index in
      let exponent = Float(index) / Float(dimension)
      let frequency = 1 / Float(pow(Double(Float(theta)), Double(exponent)))
      switch scaling {
      case .none: return frequency
      case .linear(let factor): return frequency / Float(factor)
      case .llama3(let factor, let low, let high, let context):
        let wavelength = 2 * Float.pi / frequency
        if wavelength < Float(Double(context) / high) { return frequency }
        if wavelength > Float(Double(context) / low) { return frequency / Float(factor) }
        let smooth = (Float(context) / wavelength - Float(low)) / Float(high - low)
        return (1 - smooth) * frequency / Float(factor) + smooth * frequency
      }
    }
  }

  /// The frequencies as a constant.
  func tensor() throws(TensorCoreError) -> Tensor {
    try Tensor(inverseFrequencies, shape: Shape([inverseFrequencies.count]))
  }
}

extension RotaryEmbedding {
  /// Base and scaling as a configuration gives them, in the spelling of either generation: `rope_theta` with
  /// `rope_scaling {type | rope_type}`, or `rope_parameters`.
  struct Settings {
    let theta: Double
    let scaling: Scaling

    private static let thetaRange = 1e-3...1e15

    init(_ reader: inout ConfigurationReader, defaultTheta: Double = 10_000) throws(ArchitectureError) {
      let outerTheta = try reader.optionalNumber("rope_theta", in: Self.thetaRange)
      let parameters = try reader.optionalObject("rope_parameters")
      let older = try reader.optionalObject("rope_scaling")
      let outerContext = try reader.optionalInteger("original_max_position_embeddings", in: 1...1 << 31)
      if parameters != nil, older != nil, reader.value("rope_parameters") != reader.value("rope_scaling") {
        throw .unsupported(
          key: reader.path("rope_scaling"), found: "an object beside rope_parameters",
          reason: "rope_scaling and rope_parameters contradict each other")
      }
      guard var part = parameters ?? older else {
        self.theta = outerTheta ?? defaultTheta
        self.scaling = .none
        return
      }
      let innerTheta = try part.optionalNumber("rope_theta", in: Self.thetaRange)
      if let outerTheta, let innerTheta, outerTheta != innerTheta {
        throw .unsupported(
          key: part.path("rope_theta"), found: "\(innerTheta)",
          reason: "differs from rope_theta \(outerTheta) beside it")
      }
      self.theta = innerTheta ?? outerTheta ?? defaultTheta
      self.scaling = try Self.scaling(&part, outerContext: outerContext)
      reader.finish(part)
    }

    private static func scaling(
      _ part: inout ConfigurationReader, outerContext: Int?
    ) throws(ArchitectureError) -> Scaling {
      let newer = try part.optionalString("rope_type")
      let older = try part.optionalString("type")
      if let newer, let older, newer != older {
        throw .unsupported(key: part.path("type"), found: older, reason: "differs from rope_type '\(newer)'")
      }
      try part.require(
        "partial_rotary_factor", among: [1], otherwise: "partial rotation is not computed here")
      let context =
        try part.optionalInteger("original_max_position_embeddings", in: 1...1 << 31) ?? outerContext
      let factors = 1e-6...1e6
      switch newer ?? older ?? "default" {
      case "default":
        return .none
      case "linear":
        return .linear(factor: try part.number("factor", in: factors))
      case "llama3":
        let factor = try part.number("factor", in: factors)
        let low = try part.number("low_freq_factor", in: factors)
        let high = try part.number("high_freq_factor", in: factors)
        guard low < high else {
          throw .configuration(
            key: part.path("high_freq_factor"), expected: "more than low_freq_factor \(low)", found: "\(high)"
          )
        }
        guard let context else {
          throw .configuration(
            key: part.path("original_max_position_embeddings"), expected: "an integer", found: "nothing")
        }
        return .llama3(factor: factor, low: low, high: high, originalContext: context)
      case let other:
        throw .unsupported(
          key: part.path("rope_type"), found: other, reason: "only default, linear and llama3 are computed")
      }
    }
  }
}
