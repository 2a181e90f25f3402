import OrderedCollections
import SafeIO

extension GGUFDialect {
  private static let scaling = "rope.scaling."

  // MARK: Reading

  func readRotary(
    _ rotary: Rotary, _ reader: inout ConfigurationReader, _ contents: Contents, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let theta = try reader.number("rope.freq_base", in: 1e-3...1e15, default: 10_000)
    result[rotary.thetaKey] = .number(theta)
    if let key = rotary.localThetaKey {
      result[key] = .number(
        try reader.number("rope.freq_base_swa", in: 1e-3...1e15, default: rotary.localTheta ?? theta))
    }
    let dimension = try readDimension(rotary, &reader, into: &result)
    let type = try reader.optionalString(Self.scaling + "type")
    let named = try reader.optionalNumber(Self.scaling + "factor", in: 0...1e6)
    let older = try reader.optionalNumber("rope.scale_linear", in: 0...1e6)
    let attention = try reader.number(Self.scaling + "attn_factor", in: 1e-6...1e6, default: 1)
    let context = try reader.optionalInteger(Self.scaling + "original_context_length", in: 0...1 << 31)
    // The loader takes 0 for absent, and an absent type for linear.
    let factor = [named, older].compactMap { $0 }.first { $0 != 0 } ?? 1
    let original = context.flatMap { $0 > 0 ? JSONValue($0) : nil } ?? result[sizes.context[0]] ?? .null
    let tables = try readTables(rotary, contents, &reader, factor: factor)
    switch (tables, type ?? "linear") {
    case (.all(let factors), _):
      try require(attention == 1, "attn_factor", "\(attention)", reader)
      result["rope_scaling"] = try RotaryFactors(factors, theta: theta, dimension: dimension)
        .configuration(contextHint: context)
    case (.byLength(let short, let long), _):
      result["rope_scaling"] = [
        "rope_type": "longrope", "short_factor": Self.json(short), "long_factor": Self.json(long),
        "attention_factor": .number(attention), "original_max_position_embeddings": original,
      ]
      result["original_max_position_embeddings"] = original
    case (.none, "yarn"):
      guard factor != 1 else { return try require(attention == 1, "attn_factor", "\(attention)", reader) }
      result["rope_scaling"] = .object(
        try readYarn(rotary, &reader, factor: factor, original: original, attention: attention))
    case (.none, "linear"):
      try require(attention == 1, "attn_factor", "\(attention)", reader)
      if factor != 1 { result["rope_scaling"] = ["rope_type": "linear", "factor": .number(factor)] }
    case (.none, "none"): try require(attention == 1, "attn_factor", "\(attention)", reader)
    case (.none, let other):
      throw .unsupported(
        key: reader.path(Self.scaling + "type"), found: other,
        reason: "only linear and yarn, and longrope with its tables, are computed")
    }
  }

  private func readYarn(
    _ rotary: Rotary, _ reader: inout ConfigurationReader, factor: Double, original: JSONValue,
    attention: Double
  ) throws(ArchitectureError) -> JSONObject {
    var scaling: JSONObject = [
      "rope_type": "yarn", "factor": .number(factor), "original_max_position_embeddings": original,
    ]
    if !rotary.truncatesYarn { scaling["truncate"] = false }
    for (name, key) in Self.betas {
      if let beta = try reader.optionalNumber(Self.scaling + name, in: 1e-6...1e6) {
        scaling[key] = .number(beta)
      }
    }
    // Files hold a tenth of the weight; a magnitude that it stands for is taken back from cosine and sine.
    let tenth =
      rotary.hasScoreWeight ? try reader.optionalNumber(Self.scoreWeight, in: 0...1e6) ?? 0 : 0
    if tenth > 0 { scaling["mscale_all_dim"] = .number(tenth / 0.1) }
    let standard = tenth > 0 ? 1 : RotarySettings.yarnMagnitude(factor, 1)
    if attention != 1 || tenth > 0 { scaling["attention_factor"] = .number(standard * attention) }
    return scaling
  }

  private static let betas = [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")]
  private static let scoreWeight = scaling + "yarn_log_multiplier"

  private func require(
    _ condition: Bool, _ key: String, _ found: String, _ reader: ConfigurationReader
  ) throws(ArchitectureError) {
    guard !condition else { return }
    throw .unsupported(
      key: reader.path(Self.scaling + key), found: found, reason: "is not computed with this scaling")
  }

  /// The rotated columns of a head.
  private func readDimension(
    _ rotary: Rotary, _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) -> Int {
    if isLatent { return result["qk_rope_head_dim"]?.intValue ?? 0 }
    let heads = max(result[sizes.heads[0]]?.intValue ?? 1, 1)
    let width =
      sizes.headDimension.flatMap { result[$0]?.intValue } ?? (result[sizes.hidden[0]]?.intValue ?? 0) / heads
    let dimension = try reader.optionalInteger("rope.dimension_count", in: 1...1 << 20) ?? width
    guard let key = rotary.fractionKey else {
      guard dimension == width else {
        throw .unsupported(
          key: reader.path("rope.dimension_count"), found: "\(dimension)",
          reason: "differs from the width \(width) of the heads, which is not computed")
      }
      return width
    }
    guard dimension <= width else {
      throw .configuration(
        key: reader.path("rope.dimension_count"), expected: "at most the width \(width) of the heads",
        found: "\(dimension)")
    }
    // Readers multiply and round down.
    let fraction = Double(dimension) / Double(width)
    result[key] = .number(Int(Double(width) * fraction) == dimension ? fraction : fraction.nextUp)
    return dimension
  }

  /// Rotary factors of a file.
  private enum Tables {
    case none
    case all([Float])
    case byLength(short: [Float], long: [Float])
  }

  private func readTables(
    _ rotary: Rotary, _ contents: Contents, _ reader: inout ConfigurationReader, factor: Double
  ) throws(ArchitectureError) -> Tables {
    let names = Self.rotaryTableNames
    let (all, short, long) = (
      contents.rotaryTables[names[0]], contents.rotaryTables[names[1]], contents.rotaryTables[names[2]]
    )
    guard all != nil || short != nil || long != nil else { return .none }
    let found = names.filter { contents.rotaryTables[$0] != nil }.joined(separator: ", ")
    guard rotary.tables == .all || (rotary.tables == .long && all == nil) else {
      throw .unsupported(
        key: found, found: "a tensor", reason: "\(architecture) models have no such factors")
    }
    guard factor == 1 else {
      throw .unsupported(
        key: reader.path(Self.scaling + "factor"), found: "\(factor)",
        reason: "scaling beside \(found) is not computed")
    }
    if let all, short == nil, long == nil { return .all(all) }
    guard all == nil, let short, let long else {
      throw .configuration(key: found, expected: "\(names[1]) and \(names[2])", found: found)
    }
    return .byLength(short: short, long: long)
  }

  private static func json(_ values: [Float]) -> JSONValue {
    .array(values.map { .number(Double("\($0)") ?? Double($0)) })
  }

  // MARK: Writing

  /// Adds keys and tables of the rotary positions.
  func writeRotary(
    _ rotary: Rotary, _ decoder: Decoder, into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    func places(_ isWindowed: Bool) -> RotaryEmbedding? {
      zip(decoder.rotary, decoder.windows).first { $0.0 != nil && ($0.1 > 0) == isWindowed }?.0
    }
    let any = decoder.rotary.compactMap { $0 }.first
    guard let embedding = rotary.localThetaKey == nil ? any : places(false) ?? any else { return }
    let prefix = architecture + ".rope."
    result.metadata[prefix + "dimension_count"] = try Self.count(embedding.dimension, "head_dim")
    result.metadata[prefix + "freq_base"] = .float32(Float(embedding.theta))
    if rotary.localThetaKey != nil, let local = places(true) {
      result.metadata[prefix + "freq_base_swa"] = .float32(Float(local.theta))
    }
    let scores = decoder.attention.scale * Double(decoder.sizes.headDimension).squareRoot()
    try writeScaling(embedding, rotary, scoreFactor: rotary.hasScoreWeight ? scores : 1, into: &result)
  }

  private func writeScaling(
    _ embedding: RotaryEmbedding, _ rotary: Rotary, scoreFactor: Double, into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    let prefix = architecture + "." + Self.scaling
    let names = Self.rotaryTableNames
    switch embedding.scaling {
    case .none: break
    case .dynamic: throw unwritable("dynamic")
    case .linear(let factor):
      result.metadata[prefix + "type"] = .string("linear")
      result.metadata[prefix + "factor"] = .float32(Float(factor))
    case .llama3(let factor, let low, let high, let context):
      guard rotary.tables == .all else { throw unwritable("llama3") }
      result.rotaryTables[names[0]] = RotaryFactors.llama3(
        factor: factor, low: low, high: high, context: Double(context), theta: embedding.theta,
        dimension: embedding.dimension)
      // Tells readers which context the factors are for; loaders that take the tensor do not need it.
      result.metadata[prefix + "original_context_length"] = try Self.count(
        context, "original_max_position_embeddings")
    case .long(let short, let long, let context, let magnitude):
      guard rotary.tables != .none else { throw unwritable("longrope") }
      guard rotary.tables == .long || short != long || magnitude != 1 else {
        result.rotaryTables[names[0]] = short
        return
      }
      result.metadata[prefix + "type"] = .string("longrope")
      result.metadata[prefix + "attn_factor"] = .float32(Float(magnitude))
      result.metadata[prefix + "original_context_length"] = try Self.count(
        context, "original_max_position_embeddings")
      result.rotaryTables[names[1]] = short
      result.rotaryTables[names[2]] = long
    case .yarn(let yarn): try writeYarn(yarn, rotary, scoreFactor: scoreFactor, into: &result)
    }
  }

  private func writeYarn(
    _ yarn: RotaryEmbedding.Scaling.Yarn, _ rotary: Rotary, scoreFactor: Double,
    into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    guard yarn.isTruncated == rotary.truncatesYarn else {
      throw unwritable("yarn with truncate \(yarn.isTruncated)")
    }
    if !yarn.isTruncated { result.warn("rounds the ends of yarn's ramp to whole dimensions") }
    let prefix = architecture + "." + Self.scaling
    result.metadata[prefix + "type"] = .string("yarn")
    result.metadata[prefix + "factor"] = .float32(Float(yarn.factor))
    result.metadata[prefix + "original_context_length"] = try Self.count(
      yarn.originalContext, "original_max_position_embeddings")
    for (name, value, usual) in [("yarn_beta_fast", yarn.fast, 32.0), ("yarn_beta_slow", yarn.slow, 1)]
    where value != usual {
      result.metadata[prefix + name] = .float32(Float(value))
      result.warn("does not look at \(prefix)\(name)")
    }
    var standard = RotarySettings.yarnMagnitude(yarn.factor, 1)
    if scoreFactor > 1 + 1e-9, yarn.factor > 1 {
      let weight = (scoreFactor.squareRoot() - 1) / (RotarySettings.yarnMagnitude(yarn.factor, 1) - 1)
      result.metadata[architecture + "." + Self.scoreWeight] = .float32(Float(0.1 * weight))
      standard = 1
    }
    let share = yarn.magnitude / standard
    if abs(share - 1) > 1e-6 { result.metadata[prefix + "attn_factor"] = .float32(Float(share)) }
  }

  private func unwritable(_ scaling: String) -> ArchitectureError {
    .unsupported(
      key: "rope_scaling", found: scaling,
      reason: "GGUF files of architecture '\(architecture)' cannot say this")
  }
}
