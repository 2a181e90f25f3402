import SafeIO

extension GGUFDialect {
  /// What is known of a file beside its metadata.
  public struct Contents: Sendable {
    /// Whether the file has a tensor.
    public var hasTensor: @Sendable (String) -> Bool
    /// Rows of the embedding.
    public var embeddingRows: Int?
    /// Values of ``rotaryFactorsName``, when there are some.
    public var rotaryFactors: [Float]?

    /// Creates a description.
    public init(
      embeddingRows: Int?, rotaryFactors: [Float]?, hasTensor: @escaping @Sendable (String) -> Bool
    ) {
      self.hasTensor = hasTensor
      self.embeddingRows = embeddingRows
      self.rotaryFactors = rotaryFactors
    }
  }

  /// The configuration, in Hugging Face's keys, that metadata stand for.
  ///
  /// Keys that change the computation are honoured or refused; unknown keys of the architecture are named in a warning.
  /// - Parameters:
  ///   - metadata: all entries but the vocabulary, under their full keys; numbers that are float32 in the file as the
  ///     shortest decimal number that means them.
  ///   - contents: what is known of the tensors.
  /// - Throws: ``ArchitectureError`` naming the key.
  public func configuration(
    from metadata: JSONObject, contents: Contents
  ) throws(ArchitectureError) -> (configuration: JSONValue, warnings: [String]) {
    let prefix = architecture + "."
    let own = JSONObject(
      metadata.filter { $0.key.hasPrefix(prefix) }.map { (String($0.key.dropFirst(prefix.count)), $0.value) })
    var reader = ConfigurationReader(own, prefix: prefix)
    var result = configuration
    for key in keys { result[key.configuration] = try read(key, &reader) }
    try readHeadDimension(&reader, into: &result)
    try readRotary(&reader, contents, into: &result)
    for (key, values) in neutral {
      try reader.require(
        key, among: values, otherwise: "\(architecture) models with this setting are not computed")
    }
    reader.ignore(["rope.scaling.finetuned", "tensor_data_layout"])
    if result["vocab_size"] == nil { result["vocab_size"] = contents.embeddingRows.map { JSONValue($0) } }
    result["tie_word_embeddings"] = .bool(!contents.hasTensor("output.weight"))
    for flag in biasFlags { result[flag.key] = .bool(contents.hasTensor(flag.tensor)) }
    for (key, name) in [
      ("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id"),
      ("pad_token_id", "padding_token_id"),
    ] {
      if let id = metadata["tokenizer.ggml." + name]?.intValue { result[key] = JSONValue(id) }
    }
    if let name = metadata["general.name"]?.stringValue { result["_name_or_path"] = .string(name) }
    return (.object(result), reader.warnings + reader.unreadKeyWarnings)
  }

  private func read(_ key: Key, _ reader: inout ConfigurationReader) throws(ArchitectureError) -> JSONValue? {
    switch key.kind {
    case .number:
      if let number = try reader.optionalNumber(key.name, in: -1e30...1e30) { return .number(number) }
    case .integer:
      if let list = reader.value(key.name)?.arrayValue {
        guard let first = list.first, list.allSatisfy({ $0 == first }) else {
          throw .unsupported(
            key: reader.path(key.name), found: String(JSONValue.array(list).serialized().prefix(80)),
            reason: "layers of different sizes are not computed")
        }
        return first
      }
      if let integer = try reader.optionalInteger(key.name, in: 1...1 << 40) { return JSONValue(integer) }
    }
    guard key.isRequired else { return nil }
    throw .configuration(key: reader.path(key.name), expected: "a value", found: "nothing")
  }

  /// Heads whose keys, values and rotated part differ in width are not computed.
  private func readHeadDimension(
    _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let range = 1...1 << 20
    let hidden = result["hidden_size"]?.intValue ?? 0
    let heads = max(result["num_attention_heads"]?.intValue ?? 1, 1)
    let width = try reader.optionalInteger("attention.key_length", in: range)
    let dimension = width ?? hidden / heads
    for key in ["attention.value_length", "rope.dimension_count"] {
      guard let other = try reader.optionalInteger(key, in: range), other != dimension else { continue }
      throw .unsupported(
        key: reader.path(key), found: "\(other)",
        reason: "differs from the width \(dimension) of the heads, which is not computed")
    }
    if width == nil, hidden % heads != 0 {
      throw .configuration(
        key: reader.path("attention.head_count"), expected: "a divisor of embedding_length \(hidden)",
        found: "\(heads)")
    }
    result["head_dim"] = JSONValue(dimension)
  }

  private func readRotary(
    _ reader: inout ConfigurationReader, _ contents: Contents, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let theta = try reader.number("rope.freq_base", in: 1e-3...1e15, default: 10_000)
    result["rope_theta"] = .number(theta)
    let type = try reader.optionalString("rope.scaling.type")
    let named = try reader.optionalNumber("rope.scaling.factor", in: 0...1e6)
    let older = try reader.optionalNumber("rope.scale_linear", in: 0...1e6)
    let context = try reader.optionalInteger("rope.scaling.original_context_length", in: 0...1 << 31)
    // The loader takes 0 for absent, and an absent type for linear.
    let factor = [named, older].compactMap { $0 }.first { $0 != 0 }
    let dimension = result["head_dim"]?.intValue ?? 0
    if let factors = contents.rotaryFactors {
      guard factor ?? 1 == 1 else {
        throw .unsupported(
          key: reader.path("rope.scaling.factor"), found: "\(factor ?? 1)",
          reason: "scaling beside the tensor \(Self.rotaryFactorsName) is not computed")
      }
      result["rope_scaling"] = try RotaryFactors(factors, theta: theta, dimension: dimension)
        .configuration(contextHint: context)
      return
    }
    guard let factor, factor != 1, type != "none" else {
      if let type, !["none", "linear"].contains(type) {
        throw .unsupported(
          key: reader.path("rope.scaling.type"), found: type, reason: "this scaling has no factor")
      }
      return
    }
    switch type ?? "linear" {
    case "linear": result["rope_scaling"] = ["rope_type": "linear", "factor": .number(factor)]
    case "yarn":
      result["rope_scaling"] = [
        "rope_type": "yarn", "factor": .number(factor),
        "original_max_position_embeddings": context.flatMap { $0 > 0 ? JSONValue($0) : nil }
          ?? result["max_position_embeddings"] ?? .null,
      ]
    case let other:
      throw .unsupported(
        key: reader.path("rope.scaling.type"), found: other, reason: "only linear and yarn are computed")
    }
  }
}
