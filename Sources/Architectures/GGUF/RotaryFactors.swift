import Glibc
import SafeIO

/// What a GGUF file divides the rotary frequencies by, and the configuration that gives the same.
struct RotaryFactors {
  private let values: [Float]
  private let theta: Double
  private let dimension: Int

  /// - Throws: ``ArchitectureError`` when the values cannot be factors of such heads.
  init(_ values: [Float], theta: Double, dimension: Int) throws(ArchitectureError) {
    guard values.count == dimension / 2, values.allSatisfy({ $0.isFinite && $0 > 0 }) else {
      throw .configuration(
        key: GGUFDialect.rotaryFactorsName, expected: "\(dimension / 2) positive numbers",
        found: "\(values.count) values")
    }
    self.values = values
    self.theta = theta
    self.dimension = dimension
  }

  /// `rope_scaling` with the parameters of Llama 3 when they give these factors, else with the factors themselves in the
  /// spelling of longrope; nil when all are 1.
  func configuration(contextHint: Int?) throws(ArchitectureError) -> JSONValue? {
    if values.allSatisfy({ $0 == 1 }) { return nil }
    if let parameters = llama3(contextHint: contextHint) { return parameters }
    let list = JSONValue.array(values.map { .number(Double("\($0)") ?? Double($0)) })
    return ["rope_type": "longrope", "short_factor": list, "long_factor": list, "attention_factor": 1]
  }

  /// Llama 3's published parameters are tried first, as the factors alone do not tell them apart from others that give the
  /// same blend; then the blend is solved for with `low_freq_factor` 1.
  private func llama3(contextHint: Int?) -> JSONValue? {
    guard let largest = values.max() else { return nil }
    let factor = Double(largest)
    var candidates = [(1.0, 4.0, 8192.0)]
    if let contextHint { candidates.append((1, 4, Double(contextHint))) }
    if let solved = solvedBlend(factor: factor) { candidates.append(solved) }
    for (low, high, context) in candidates {
      let tried = Self.llama3(
        factor: factor, low: low, high: high, context: context, theta: theta, dimension: dimension)
      let isSame = zip(tried, values).allSatisfy { abs($0 - $1) <= 4e-6 * $1 }
      guard isSame else { continue }
      return [
        "rope_type": "llama3", "factor": Self.plain(factor), "low_freq_factor": Self.plain(low),
        "high_freq_factor": Self.plain(high), "original_max_position_embeddings": JSONValue(Int(context)),
      ]
    }
    return nil
  }

  private static func plain(_ value: Double) -> JSONValue { .number(value) }

  /// `smooth = (context / wavelength - low) / (high - low)` is linear in the frequency: two blended factors give slope
  /// and offset, and with `low` 1 the other two parameters.
  private func solvedBlend(factor: Double) -> (Double, Double, Double)? {
    var points: [(frequency: Double, smooth: Double)] = []
    for (index, value) in values.enumerated() where value > 1 && Double(value) < factor {
      let smooth = (1 / Double(value) - 1 / factor) / (1 - 1 / factor)
      points.append((pow(theta, -Double(2 * index) / Double(dimension)) / (2 * Double.pi), smooth))
    }
    guard let first = points.first, let last = points.last, first.frequency > last.frequency else {
      return nil
    }
    let slope = (first.smooth - last.smooth) / (first.frequency - last.frequency)
    let offset = first.smooth - slope * first.frequency
    guard slope > 0, offset < 0 else { return nil }
    let range = -1 / offset
    let context = (slope * range).rounded()
    let high = 1 + (range * 1e4).rounded() / 1e4
    guard context >= 1, context < 1e9, high > 1 else { return nil }
    return (1, high, context)
  }

  /// The factors that Llama 3's scaling amounts to, each step rounded to float32 as llama.cpp's converter does.
  static func llama3(
    factor: Double, low: Double, high: Double, context: Double, theta: Double, dimension: Int
  ) -> [Float] {
    stride(from: 0, to: dimension - 1, by: 2).map { index in
      let frequency = 1 / Float(pow(Double(Float(theta)), Double(Float(index) / Float(dimension))))
      let wavelength = Float(2 * Double.pi) / frequency
      if wavelength < Float(context / high) { return 1 }
      if wavelength > Float(context / low) { return Float(factor) }
      let smooth = (Float(context) / wavelength - Float(low)) / Float(high - low)
      return 1 / ((1 - smooth) / Float(factor) + smooth)
    }
  }
}
