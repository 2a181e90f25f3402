import Glibc
import SafeIO

/// Rotary positions as a configuration gives them, in the spelling of either generation: `rope_theta` and the like with
/// `rope_scaling {type | rope_type}`, or `rope_parameters`.
struct RotarySettings {
  /// What a family takes when the configuration does not say.
  struct Defaults {
    var theta = 10_000.0
    /// Keys of the base besides those inside `rope_parameters`.
    var thetaKeys = ["rope_theta"]
    /// Share of a head that is rotated.
    var fraction = 1.0
    var fractionKeys = ["partial_rotary_factor", "rotary_pct"]
    /// Kind of the layers, for configurations that have parameters for each kind.
    var layerType: String?
    /// Whether `rope_scaling` is for these layers.
    var isScaled = true
    /// Tokens that the model was first trained with.
    var originalContext: Int?
  }

  private(set) var theta: Double
  private(set) var fraction: Double
  private(set) var scaling = RotaryEmbedding.Scaling.none
  /// What families with latent attention multiply scores with: the square of the magnitude that `mscale_all_dim` stands for.
  private(set) var scoreFactor = 1.0

  private static let thetaRange = 1e-3...1e15
  private static let contextRange = 1...1 << 31
  private static let factorRange = 1e-6...1e6

  /// - Throws: ``ArchitectureError`` naming the key.
  init(
    _ reader: inout ConfigurationReader, sizes: ModelConfiguration, _ defaults: Defaults = .init()
  ) throws(ArchitectureError) {
    let outerTheta = try reader.optionalNumber(reader.key(among: defaults.thetaKeys), in: Self.thetaRange)
    let outerFraction = try reader.optionalNumber(
      reader.key(among: defaults.fractionKeys), in: Self.factorRange)
    theta = outerTheta ?? defaults.theta
    fraction = outerFraction ?? defaults.fraction
    let context =
      try reader.optionalInteger("original_max_position_embeddings", in: Self.contextRange)
      ?? defaults.originalContext
    guard var part = try Self.parameters(&reader, defaults) else { return }
    theta =
      try Self.agreed(
        &part, "rope_theta", outerTheta, outerKey: defaults.thetaKeys[0], range: Self.thetaRange) ?? theta
    fraction =
      try Self.agreed(
        &part, "partial_rotary_factor", outerFraction, outerKey: defaults.fractionKeys[0],
        range: Self.factorRange) ?? fraction
    scaling = try Self.scaling(&part, sizes: sizes, outerContext: context)
    if scaling != .none, let factor = try part.optionalNumber("factor", in: Self.factorRange),
      let weight = try part.optionalNumber("mscale_all_dim", in: 0...1e6), weight > 0
    {
      scoreFactor = Self.yarnMagnitude(factor, weight) * Self.yarnMagnitude(factor, weight)
    }
    reader.finish(part)
  }

  /// The embedding for heads of this width.
  /// - Throws: ``ArchitectureError`` when the rotated share is not pairs of columns.
  func embedding(
    headDimension: Int, _ reader: ConfigurationReader
  ) throws(ArchitectureError) -> RotaryEmbedding {
    let dimension = Int(Double(headDimension) * fraction)
    guard dimension >= 2, dimension <= headDimension, dimension.isMultiple(of: 2) else {
      throw .configuration(
        key: reader.path("head_dim"),
        expected: "an even number of rotated columns from 2 to \(headDimension)", found: "\(dimension)")
    }
    if case .dynamic = scaling, dimension < 4 {
      throw .configuration(
        key: "rope_parameters.rope_type", expected: "at least 4 rotated columns for dynamic",
        found: "\(dimension)")
    }
    if case .long(let short, let long, _, _) = scaling {
      for (key, factors) in [("short_factor", short), ("long_factor", long)]
      where factors.count != dimension / 2 {
        throw .configuration(
          key: "rope_parameters." + key, expected: "\(dimension / 2) numbers", found: "\(factors.count)")
      }
    }
    return RotaryEmbedding(theta: theta, dimension: dimension, scaling: scaling)
  }

  /// The object that holds the parameters for the family's kind of layers.
  private static func parameters(
    _ reader: inout ConfigurationReader, _ defaults: Defaults
  ) throws(ArchitectureError) -> ConfigurationReader? {
    let parameters = try reader.optionalObject("rope_parameters")
    let older = try reader.optionalObject("rope_scaling")
    if parameters != nil, older != nil, reader.value("rope_parameters") != reader.value("rope_scaling") {
      throw .unsupported(
        key: reader.path("rope_scaling"), found: "an object beside rope_parameters",
        reason: "rope_scaling and rope_parameters contradict each other")
    }
    guard var outer = parameters else { return defaults.isScaled ? older : nil }
    let kinds = ["full_attention", "sliding_attention"].filter { outer.value($0)?.objectValue != nil }
    guard !kinds.isEmpty else { return defaults.isScaled ? outer : nil }
    guard let kind = defaults.layerType else {
      throw .unsupported(
        key: outer.path(kinds[0]), found: "an object",
        reason: "rotary positions by kind of layer are not computed for this family")
    }
    return try outer.optionalObject(kind)
  }

  /// A number inside an object that must not contradict the same number outside.
  private static func agreed(
    _ part: inout ConfigurationReader, _ key: String, _ outer: Double?, outerKey: String,
    range: ClosedRange<Double>
  ) throws(ArchitectureError) -> Double? {
    guard let inner = try part.optionalNumber(key, in: range) else { return nil }
    if let outer, outer != inner {
      throw .unsupported(
        key: part.path(key), found: "\(inner)", reason: "differs from \(outerKey) \(outer) beside it")
    }
    return inner
  }

  private static func scaling(
    _ part: inout ConfigurationReader, sizes: ModelConfiguration, outerContext: Int?
  ) throws(ArchitectureError) -> RotaryEmbedding.Scaling {
    let newer = try part.optionalString("rope_type")
    let older = try part.optionalString("type")
    if let newer, let older, newer != older {
      throw .unsupported(key: part.path("type"), found: older, reason: "differs from rope_type '\(newer)'")
    }
    let inner = try part.optionalInteger("original_max_position_embeddings", in: contextRange)
    let original = outerContext ?? inner
    switch newer ?? older ?? "default" {
    case "default", "mrope": return .none
    case "linear": return .linear(factor: try part.number("factor", in: factorRange))
    case "dynamic":
      // The published computation stretches from the model's full context on.
      return .dynamic(factor: try part.number("factor", in: factorRange), context: sizes.contextLength)
    case "llama3": return try llama3(&part, context: original)
    case "yarn": return try yarn(&part, sizes: sizes, context: original ?? sizes.contextLength)
    case "longrope", "su": return try long(&part, sizes: sizes, context: original ?? sizes.contextLength)
    case let other:
      throw .unsupported(
        key: part.path("rope_type"), found: other,
        reason: "only default, linear, dynamic, llama3, yarn and longrope are computed")
    }
  }

  private static func llama3(
    _ part: inout ConfigurationReader, context: Int?
  ) throws(ArchitectureError) -> RotaryEmbedding.Scaling {
    let factor = try part.number("factor", in: factorRange)
    let low = try part.number("low_freq_factor", in: factorRange)
    let high = try part.number("high_freq_factor", in: factorRange)
    guard low < high else {
      throw .configuration(
        key: part.path("high_freq_factor"), expected: "more than low_freq_factor \(low)", found: "\(high)")
    }
    guard let context else {
      throw .configuration(
        key: part.path("original_max_position_embeddings"), expected: "an integer", found: "nothing")
    }
    return .llama3(factor: factor, low: low, high: high, originalContext: context)
  }

  private static func yarn(
    _ part: inout ConfigurationReader, sizes: ModelConfiguration, context: Int
  ) throws(ArchitectureError) -> RotaryEmbedding.Scaling {
    let ratio = Double(sizes.contextLength) / Double(context)
    let factor = try part.optionalNumber("factor", in: factorRange) ?? ratio
    let numerator = try part.optionalNumber("mscale", in: 0...factorRange.upperBound) ?? 0
    let denominator = try part.optionalNumber("mscale_all_dim", in: 0...factorRange.upperBound) ?? 0
    let magnitude =
      numerator > 0 && denominator > 0
      ? yarnMagnitude(factor, numerator) / yarnMagnitude(factor, denominator) : yarnMagnitude(factor, 1)
    return .yarn(
      .init(
        factor: factor, fast: try part.number("beta_fast", in: factorRange, default: 32),
        slow: try part.number("beta_slow", in: factorRange, default: 1),
        isTruncated: try part.bool("truncate", default: true), originalContext: context,
        magnitude: try part.number("attention_factor", in: factorRange, default: magnitude)))
  }

  /// Source: Peng et al. 2023 (arXiv 2309.00071), section 3.4.
  static func yarnMagnitude(_ factor: Double, _ weight: Double) -> Double {
    factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1
  }

  private static func long(
    _ part: inout ConfigurationReader, sizes: ModelConfiguration, context: Int
  ) throws(ArchitectureError) -> RotaryEmbedding.Scaling {
    let ratio = Double(sizes.contextLength) / Double(context)
    let factor = try part.optionalNumber("factor", in: factorRange) ?? ratio
    let magnitude = factor <= 1 ? 1 : (1 + log(factor) / log(Double(context))).squareRoot()
    return .long(
      short: try part.numbers("short_factor", in: factorRange).map { Float($0) },
      long: try part.numbers("long_factor", in: factorRange).map { Float($0) }, originalContext: context,
      magnitude: try part.number("attention_factor", in: factorRange, default: magnitude))
  }
}
