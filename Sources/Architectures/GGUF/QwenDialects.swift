extension GGUFDialect {
  /// Qwen2.
  static let qwen2: GGUFDialect = {
    var dialect = GGUFDialect("qwen2", model: "qwen2", class: "Qwen2ForCausalLM")
    dialect.windows = Windows(hasSwitch: true)
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// Qwen3.
  static let qwen3: GGUFDialect = {
    var dialect = GGUFDialect("qwen3", model: "qwen3", class: "Qwen3ForCausalLM")
    dialect.windows = Windows(hasSwitch: true)
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias")]
    dialect.refusedByLoader = { $0.attention.outputBias ? ["blk.#.attn_output.bias"] : [] }
    return dialect
  }()

  /// Qwen2 with experts.
  static let qwen2MoE: GGUFDialect = {
    var dialect = GGUFDialect("qwen2moe", model: "qwen2_moe", class: "Qwen2MoeForCausalLM")
    dialect.windows = Windows(hasSwitch: true)
    dialect.experts = ExpertKeys(
      inner: "moe_intermediate_size", sharedInner: "shared_expert_intermediate_size", isNormalized: false,
      normalizationKey: "norm_topk_prob", denseLayersKey: "mlp_only_layers")
    dialect.flags = [("qkv_bias", "blk.0.attn_q.bias")]
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// Qwen3 with experts.
  static let qwen3MoE: GGUFDialect = {
    var dialect = GGUFDialect("qwen3moe", model: "qwen3_moe", class: "Qwen3MoeForCausalLM")
    dialect.windows = Windows(hasSwitch: true)
    dialect.experts = ExpertKeys(
      inner: "moe_intermediate_size", normalizationKey: "norm_topk_prob", denseLayersKey: "mlp_only_layers")
    dialect.flags = qwen3.flags
    dialect.refusedByLoader = qwen3.refusedByLoader
    return dialect
  }()
}
