import OrderedCollections
import SafeIO

extension GGUFDialect {
  /// The metadata below the architecture's prefix for a model of this configuration, in the order in which they are written.
  /// - Throws: ``ArchitectureError`` naming the key that such files cannot express.
  public func metadata(
    from configuration: JSONValue, sizes: ModelConfiguration
  ) throws(ArchitectureError) -> OrderedDictionary<String, Field> {
    guard let object = configuration.objectValue else {
      throw .configuration(key: "config.json", expected: "an object", found: configuration.kindName)
    }
    var reader = ConfigurationReader(object)
    for (key, values) in required {
      try reader.require(
        key, among: values, otherwise: "GGUF files of architecture '\(architecture)' cannot say this")
    }
    var result: OrderedDictionary<String, Field> = [:]
    for key in keys {
      result[architecture + "." + key.name] = try field(key, &reader, sizes)
    }
    let width = try Self.count(sizes.headDimension, "head_dim")
    for key in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
      result[architecture + "." + key] = width
    }
    try writeRotary(&reader, sizes, into: &result)
    return result
  }

  private func field(
    _ key: Key, _ reader: inout ConfigurationReader, _ sizes: ModelConfiguration
  ) throws(ArchitectureError) -> Field? {
    switch key.kind {
    case .number:
      // The one number of the decoders there are; its absence means the same to every importer.
      return .float32(Float(try reader.number(key.configuration, in: -1e30...1e30, default: 1e-6)))
    case .integer:
      // Sizes that the importer has filled in where the configuration is silent.
      let known: [String: Int] = [
        "max_position_embeddings": sizes.contextLength, "num_key_value_heads": sizes.kvHeadCount,
      ]
      if let value = known[key.configuration] { return try Self.count(value, key.configuration) }
      return try Self.count(reader.integer(key.configuration, in: 0...1 << 31), key.configuration)
    }
  }

  private static func count(_ value: Int, _ key: String) throws(ArchitectureError) -> Field {
    guard let count = UInt32(exactly: value) else {
      throw .configuration(key: key, expected: "a number of 32 bits", found: "\(value)")
    }
    return .uint32(count)
  }

  private func writeRotary(
    _ reader: inout ConfigurationReader, _ sizes: ModelConfiguration,
    into result: inout OrderedDictionary<String, Field>
  ) throws(ArchitectureError) {
    let settings = try RotarySettings(&reader, sizes: sizes)
    let prefix = architecture + ".rope."
    result[prefix + "freq_base"] = .float32(Float(settings.theta))
    switch settings.scaling {
    case .none, .llama3: break
    case .long: _ = try Self.onlyFactors(settings)
    case .dynamic:
      throw .unsupported(
        key: "rope_scaling", found: "dynamic", reason: "GGUF files have no dynamic rotary scaling")
    case .linear(let factor):
      result[prefix + "scaling.type"] = .string("linear")
      result[prefix + "scaling.factor"] = .float32(Float(factor))
    case .yarn(let yarn):
      guard yarn.hasStandardShape else {
        throw .unsupported(
          key: "rope_scaling", found: "yarn",
          reason: "only yarn with its standard parameters can be written as GGUF")
      }
      result[prefix + "scaling.type"] = .string("yarn")
      result[prefix + "scaling.factor"] = .float32(Float(yarn.factor))
      result[prefix + "scaling.original_context_length"] = try Self.count(
        yarn.originalContext, "original_max_position_embeddings")
    }
  }

  /// The values of the tensor ``rotaryFactorsName`` that a model of this configuration needs; nil when it needs none.
  /// - Throws: ``ArchitectureError`` naming the key.
  public func rotaryFactors(
    from configuration: JSONValue, headDimension: Int
  ) throws(ArchitectureError) -> [Float]? {
    guard let object = configuration.objectValue else { return nil }
    var reader = ConfigurationReader(object)
    let settings = try RotarySettings(&reader, sizes: ModelConfiguration(&reader))
    switch settings.scaling {
    case .llama3(let factor, let low, let high, let context):
      return RotaryFactors.llama3(
        factor: factor, low: low, high: high, context: Double(context), theta: settings.theta,
        dimension: headDimension)
    case .long: return try Self.onlyFactors(settings)
    default: return nil
    }
  }

  /// The factors of a longrope that has one table for short and long texts and leaves magnitudes as they are.
  private static func onlyFactors(_ settings: RotarySettings) throws(ArchitectureError) -> [Float]? {
    guard case .long(let short, let long, _, let magnitude) = settings.scaling else { return nil }
    guard short == long, magnitude == 1 else {
      throw .unsupported(
        key: "rope_scaling", found: "longrope",
        reason: "only longrope with one table and attention_factor 1 can be written as GGUF")
    }
    return short
  }
}
