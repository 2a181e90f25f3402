import SafeIO

extension GGUFDialect {
  /// What is known of a file beside its metadata.
  public struct Contents: Sendable {
    /// Whether the file has a tensor.
    public var hasTensor: @Sendable (String) -> Bool
    /// Rows of the embedding.
    public var embeddingRows: Int?
    /// Values of those of ``rotaryTableNames`` that are there.
    public var rotaryTables: [String: [Float]]

    /// Creates a description.
    public init(
      embeddingRows: Int?, rotaryTables: [String: [Float]] = [:],
      hasTensor: @escaping @Sendable (String) -> Bool
    ) {
      self.hasTensor = hasTensor
      self.embeddingRows = embeddingRows
      self.rotaryTables = rotaryTables
    }
  }

  /// Keys that change what some decoders compute, with the values that do not; a family reads those that it honours.
  private static let neutral: [(key: String, values: [JSONValue])] = [
    ("expert_count", [0]), ("expert_used_count", [0]), ("expert_shared_count", [0]),
    ("expert_feed_forward_length", []), ("expert_shared_feed_forward_length", [0]),
    ("expert_weights_norm", []), ("expert_weights_scale", [0, 1]), ("expert_gating_func", [1]),
    ("expert_group_count", [0, 1]), ("expert_group_used_count", [0, 1]),
    ("leading_dense_block_count", [0]), ("nextn_predict_layers", [0]), ("attention.causal", [true]),
    ("attention.scale", []), ("attention.sliding_window", [0]), ("attention.sliding_window_pattern", []),
    ("attention.clamp_kqv", [0]), ("attention.output_scale", [1]), ("attention.value_scale", [1]),
    ("attention.temperature_scale", [0]), ("attention.max_alibi_bias", [0]), ("attn_logit_softcapping", []),
    ("final_logit_softcapping", []), ("router_logit_softcapping", []), ("logit_scale", [1]),
    ("residual_scale", [1]), ("embedding_scale", [1]), ("pooling_type", [0]),
    ("use_parallel_residual", [false]), ("embedding_length_out", []), ("rope.dimension_sections", []),
    ("rope.scaling.attn_factor", [1]), ("rope.scaling.alpha", []), ("rope.scaling.yarn_log_multiplier", [0]),
    ("rope.scaling.yarn_ext_factor", [1]), ("rope.scaling.yarn_attn_factor", [1]),
    ("rope.scaling.yarn_beta_fast", [32]), ("rope.scaling.yarn_beta_slow", [1]), ("rope.freq_base_swa", []),
    ("rope.dimension_count_swa", []), ("attention.key_length_swa", []), ("attention.value_length_swa", []),
    ("attention.layer_norm_epsilon", []), ("attention.layer_norm_rms_epsilon", []),
    ("attention.shared_kv_layers", [0]), ("swin_norm", [false]), ("deepstack_mapping", []),
  ]

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
    var reader = ConfigurationReader(Self.entries(of: metadata, below: prefix), prefix: prefix)
    var result = configuration
    try readSizes(&reader, contents, into: &result)
    try readEpsilon(&reader, into: &result)
    if isLatent {
      try readLatentAttention(&reader, into: &result)
    } else {
      try readHeads(&reader, into: &result)
    }
    if let rotary {
      try readRotary(rotary, &reader, contents, into: &result)
    } else {
      // Loaders do not look at them where nothing is rotated.
      reader.ignore(["rope.freq_base", "rope.dimension_count", "rope.scaling.type"])
    }
    try readWindows(&reader, into: &result)
    try readExperts(&reader, contents, into: &result)
    if let lateExperts { try readLateExperts(lateExperts, &reader, into: &result) }
    for entry in entries { try read(entry, &reader, into: &result) }
    for flag in flags {
      // Queries may lie in one tensor with keys and values, or by themselves.
      let names = [
        flag.tensor, flag.tensor.replacing("attn_q.", with: "attn_qkv."),
        flag.tensor.replacing("attn_qkv.", with: "attn_q."),
      ]
      result[flag.key] = .bool(names.contains(where: contents.hasTensor))
    }
    result["tie_word_embeddings"] = .bool(!contents.hasTensor("output.weight"))
    try complete(&result, contents, &reader)
    for (key, values) in Self.neutral where !reader.isRead(key) {
      try reader.require(
        key, among: values, otherwise: "\(architecture) models with this setting are not computed")
    }
    // What converters note without any effect.
    reader.ignore(["rope.scaling.finetuned", "tensor_data_layout"])
    for (key, name) in [
      ("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id"),
      ("pad_token_id", "padding_token_id"),
    ] {
      if let id = metadata["tokenizer.ggml." + name]?.intValue { result[key] = JSONValue(id) }
    }
    if let name = metadata["general.name"]?.stringValue { result["_name_or_path"] = .string(name) }
    return (.object(result), reader.warnings + reader.unreadKeyWarnings)
  }

  // MARK: Sizes

  private func readSizes(
    _ reader: inout ConfigurationReader, _ contents: Contents, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let blocks = try reader.integer("block_count", in: 1...10_000)
    let layers = try withoutSpareLayers(blocks, &reader, into: &result)
    let heads = try size("attention.head_count", &reader, layers: blocks)
    let hidden = try size("embedding_length", &reader, layers: blocks)
    let inner = try size("feed_forward_length", &reader, layers: blocks)
    result[sizes.layers[0]] = JSONValue(layers)
    result[sizes.context[0]] = JSONValue(try reader.integer("context_length", in: 1...1 << 31))
    result[sizes.hidden[0]] = JSONValue(hidden)
    result[sizes.heads[0]] = JSONValue(heads)
    if let key = sizes.intermediate?[0] ?? innerKey {
      result[key] = JSONValue(inner)
    } else if inner != 4 * hidden {
      throw .unsupported(
        key: reader.path("feed_forward_length"), found: "\(inner)",
        reason: "\(architecture) models have feed-forwards of four times embedding_length \(hidden)")
    }
    if reader.value("attention.head_count_kv") != nil {
      let kvHeads = try size("attention.head_count_kv", &reader, layers: blocks)
      if let key = sizes.kvHeads?[0] {
        result[key] = JSONValue(kvHeads)
      } else if kvHeads != heads, !(isLatent && kvHeads == 1) {
        throw .unsupported(
          key: reader.path("attention.head_count_kv"), found: "\(kvHeads)",
          reason: "\(architecture) models have as many key heads as query heads, \(heads)")
      }
    } else if let key = sizes.kvHeads?[0] {
      result[key] = JSONValue(heads)
    }
    let vocabulary = try reader.optionalInteger("vocab_size", in: 1...1 << 40) ?? contents.embeddingRows
    result["vocab_size"] = vocabulary.map { JSONValue($0) }
  }

  /// A size, or one for each layer when all are the same.
  private func size(
    _ key: String, _ reader: inout ConfigurationReader, layers: Int
  ) throws(ArchitectureError) -> Int {
    guard let list = reader.value(key)?.arrayValue else { return try reader.integer(key, in: 1...1 << 40) }
    let integers = try reader.optionalIntegers(key, in: 1...1 << 40) ?? []
    guard let first = integers.first, integers.count == layers else {
      throw .configuration(
        key: reader.path(key), expected: "one number, or \(layers)", found: "\(list.count)")
    }
    guard integers.allSatisfy({ $0 == first }) else {
      throw .unsupported(
        key: reader.path(key), found: String(JSONValue.array(list).serialized().prefix(80)),
        reason: "layers of different sizes are not computed")
    }
    return first
  }

  private func readEpsilon(
    _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    switch epsilon {
    case .rootMeanSquare(let key):
      result[key] = .number(try reader.number("attention.layer_norm_rms_epsilon", in: 0...1))
    case .layer(let key): result[key] = .number(try reader.number("attention.layer_norm_epsilon", in: 0...1))
    case .fixedLayer(let value):
      let found = try reader.number("attention.layer_norm_epsilon", in: 0...1)
      guard Float(found) == Float(value) else {
        throw .unsupported(
          key: reader.path("attention.layer_norm_epsilon"), found: "\(found)",
          reason: "\(architecture) models have \(value)")
      }
    }
  }

  /// Heads whose keys and values differ in width are not computed.
  private func readHeads(
    _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let range = 1...1 << 20
    let hidden = result[sizes.hidden[0]]?.intValue ?? 0
    let heads = max(result[sizes.heads[0]]?.intValue ?? 1, 1)
    let width = try reader.optionalInteger("attention.key_length", in: range)
    let dimension = width ?? hidden / heads
    if let other = try reader.optionalInteger("attention.value_length", in: range), other != dimension {
      throw .unsupported(
        key: reader.path("attention.value_length"), found: "\(other)",
        reason: "differs from the width \(dimension) of the heads, which is not computed")
    }
    if width == nil, hidden % heads != 0 {
      throw .configuration(
        key: reader.path("attention.head_count"), expected: "a divisor of embedding_length \(hidden)",
        found: "\(heads)")
    }
    if let key = sizes.headDimension {
      result[key] = JSONValue(dimension)
    } else if dimension * heads != hidden {
      throw .unsupported(
        key: reader.path("attention.key_length"), found: "\(dimension)",
        reason: "heads of \(architecture) models are \(hidden / heads) columns wide")
    }
  }

  // MARK: Further keys

  private func read(
    _ entry: Entry, _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    guard reader.has(entry.name) || !entry.isRequired else {
      throw .configuration(key: reader.path(entry.name), expected: "a value", found: "nothing")
    }
    switch entry.kind {
    case .number(let read):
      let value = try reader.optionalNumber(entry.name, in: -1e30...1e30)
      result[entry.key] = read(value, result)
    case .flag(let read):
      let value = reader.has(entry.name) ? try reader.bool(entry.name, default: false) : nil
      result[entry.key] = read(value).map { .bool($0) }
    }
  }

  private func readWindows(
    _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    guard let windows else { return }
    let layers = result[sizes.layers[0]]?.intValue ?? 0
    let window = try reader.optionalInteger("attention.sliding_window", in: 0...1 << 31) ?? windows.fallback
    let sliding = try readPattern(windows, &reader, layers: layers)
    guard let window, window > 0, sliding.contains(true) else {
      result["sliding_window"] = .null
      if windows.fallback != nil || windows.period != nil {
        result["sliding_window"] = JSONValue(max(window ?? 4096, 1))
        result["layer_types"] = .array(sliding.map { _ in "full_attention" })
      }
      if windows.hasSwitch { result["use_sliding_window"] = false }
      return
    }
    result["sliding_window"] = JSONValue(window)
    if windows.hasSwitch { result["use_sliding_window"] = true }
    if windows.hasSwitch || windows.period != nil || sliding.contains(false) {
      result["layer_types"] = .array(sliding.map { $0 ? "sliding_attention" : "full_attention" })
    }
  }

  /// Which layers have a window: a list, or every how manieth layer has none.
  private func readPattern(
    _ windows: Windows, _ reader: inout ConfigurationReader, layers: Int
  ) throws(ArchitectureError) -> [Bool] {
    let key = "attention.sliding_window_pattern"
    if let list = reader.value(key)?.arrayValue {
      let flags = list.compactMap { $0.boolValue ?? $0.intValue.map { $0 != 0 } }
      guard flags.count == layers, list.count == layers else {
        throw .configuration(
          key: reader.path(key), expected: "\(layers) truth values", found: "\(list.count) values")
      }
      return flags
    }
    let period = try reader.optionalInteger(key, in: 0...10_000) ?? windows.period ?? 0
    return (0..<layers).map { period == 0 || !($0 + 1).isMultiple(of: period) }
  }

  private func readExperts(
    _ reader: inout ConfigurationReader, _ contents: Contents, into result: inout JSONObject
  ) throws(ArchitectureError) {
    guard let keys = experts else { return }
    let count = try reader.integer("expert_count", in: 1...4096)
    let chosen = try reader.integer("expert_used_count", in: 1...count)
    result[keys.count] = JSONValue(count)
    result["num_experts_per_tok"] = JSONValue(chosen)
    let inner = result[sizes.intermediate?[0] ?? ""]?.intValue ?? 0
    if let key = keys.inner {
      let width = try reader.optionalInteger("expert_feed_forward_length", in: 1...1 << 22)
      result[key] = JSONValue(width ?? inner / chosen)
    }
    if let key = keys.sharedInner {
      let width = try reader.optionalInteger("expert_shared_feed_forward_length", in: 1...1 << 22)
      result[key] = JSONValue(width ?? inner)
    }
    if let key = keys.normalizationKey {
      result[key] = .bool(try reader.bool("expert_weights_norm", default: keys.isNormalized))
    }
    if let key = keys.denseLayersKey {
      let layers = result[sizes.layers[0]]?.intValue ?? 0
      let dense = (0..<layers).filter { !contents.hasTensor("blk.\($0).ffn_gate_inp.weight") }
      result[key] = .array(dense.map { JSONValue($0) })
    }
  }
}
