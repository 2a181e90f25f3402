import SafeIO

extension GGUFDialect {
  /// Phi-1 to Phi-2.
  static let phi: GGUFDialect = {
    var dialect = GGUFDialect("phi2", model: "phi", class: "PhiForCausalLM", ["hidden_act": "gelu_new"])
    dialect.epsilon = .layer("layer_norm_eps")
    dialect.rotary?.fractionKey = "partial_rotary_factor"
    dialect.flags = [("qk_layernorm", "blk.0.attn_q_norm.weight")]
    dialect.refusedByLoader = { $0.attention.queryKeyNorm == nil ? [] : ["blk.#.attn_q_norm.weight"] }
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// Phi-3 to Phi-4.
  static let phi3: GGUFDialect = {
    var dialect = GGUFDialect("phi3", model: "phi3", class: "Phi3ForCausalLM")
    dialect.rotary = Rotary(tables: .long, fractionKey: "partial_rotary_factor")
    dialect.windows = Windows()
    dialect.assumesFullHeads = true
    return dialect
  }()
}
