extension ModelFamily {
  /// Qwen2 and Qwen2.5.
  static let qwen2 = decoder(
    name: "qwen2", summary: "Llama with biases on queries, keys and values.",
    modelTypes: ["qwen2"], architectures: ["Qwen2ForCausalLM"], gguf: .qwen2
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("qwen2", &reader)
    decoder.attention.inputBias = true
    try decoder.readUpperWindows(&reader)
    return decoder
  }

  /// Qwen3.
  static let qwen3 = decoder(
    name: "qwen3", summary: "Llama with RMS normalization of each query and key head.",
    modelTypes: ["qwen3"], architectures: ["Qwen3ForCausalLM"], gguf: .qwen3
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("qwen3", &reader, keys: .init(defaultHeadDimension: 128))
    decoder.normalizeHeads()
    try decoder.readAttentionBias(&reader)
    try decoder.readUpperWindows(&reader)
    return decoder
  }

  /// Qwen1.5 and Qwen2 with experts.
  static let qwen2MoE = decoder(
    name: "qwen2-moe",
    summary: "Qwen2 with experts, and one more that every token goes to, weighted by a gate.",
    modelTypes: ["qwen2_moe"], architectures: ["Qwen2MoeForCausalLM"], gguf: .qwen2MoE
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("qwen2-moe", &reader)
    decoder.attention.inputBias = try reader.bool("qkv_bias", default: true)
    let isOn = try reader.bool("use_sliding_window", default: false)
    let window = try Decoder.window(&reader, fallback: 4096)
    let end = try reader.integer("max_window_layers", in: 0...1 << 31, default: 28)
    try decoder.readLayerWindows(&reader, window: isOn ? window : nil) { $0.isMultiple(of: 2) && $0 < end }
    var experts = try Experts(
      &reader, inner: try reader.integer("moe_intermediate_size", in: 1...1 << 22, default: 1408),
      countKeys: ["num_experts", "num_local_experts"], defaultCount: 60, defaultChosen: 4)
    experts.isNormalized = try reader.bool("norm_topk_prob", default: false)
    experts.shared = .init(
      inner: try reader.integer("shared_expert_intermediate_size", in: 1...1 << 22, default: 5632),
      gate: "mlp.shared_expert_gate")
    try decoder.setSparseFeedForwards(&reader, experts)
    return decoder
  }

  /// Qwen3 with experts.
  static let qwen3MoE = decoder(
    name: "qwen3-moe", summary: "Qwen3 whose feed-forwards are many small experts.",
    modelTypes: ["qwen3_moe"], architectures: ["Qwen3MoeForCausalLM"], gguf: .qwen3MoE
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("qwen3-moe", &reader)
    decoder.normalizeHeads()
    try decoder.readAttentionBias(&reader)
    let isSliding = try reader.bool("use_sliding_window", default: false)
    let window = try Decoder.window(&reader, fallback: 4096)
    try decoder.readLayerWindows(&reader, window: isSliding ? window : nil) { _ in true }
    reader.ignore(["max_window_layers"])
    var experts = try Experts(
      &reader, inner: try reader.integer("moe_intermediate_size", in: 1...1 << 22, default: 768),
      countKeys: ["num_experts", "num_local_experts"], defaultCount: 128, defaultChosen: 8)
    experts.isNormalized = try reader.bool("norm_topk_prob", default: false)
    try decoder.setSparseFeedForwards(&reader, experts)
    return decoder
  }
}

extension Decoder {
  /// The family's normalization on each query and key head.
  mutating func normalizeHeads() {
    attention.queryKeyNorm = .init(normalization: normalization, isByHead: true)
  }

  /// Windows on the layers from `max_window_layers` on, when they are switched on.
  mutating func readUpperWindows(_ reader: inout ConfigurationReader) throws(ArchitectureError) {
    let isOn = try reader.bool("use_sliding_window", default: false)
    let window = try Self.window(&reader, fallback: 4096)
    let first = try reader.integer("max_window_layers", in: 0...1 << 31, default: 28)
    try readLayerWindows(&reader, window: isOn ? window : nil) { $0 >= first }
  }
}
