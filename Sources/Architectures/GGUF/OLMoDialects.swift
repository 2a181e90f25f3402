import SafeIO

extension GGUFDialect {
  /// OLMo.
  static let olmo: GGUFDialect = {
    var dialect = GGUFDialect("olmo", model: "olmo", class: "OlmoForCausalLM")
    dialect.epsilon = .fixedLayer(1e-5)
    dialect.rotary = Rotary(order: .neighbours)
    dialect.entries = [
      .number(
        "attention.clamp_kqv", "clip_qkv", write: \.attention.clip,
        read: { value, _ in value.flatMap { $0 == 0 ? nil : .number($0) } })
    ]
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias")]
    dialect.refusedByLoader = { $0.attention.outputBias ? ["blk.#.attn_output.bias"] : [] }
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// OLMo 2.
  static let olmo2: GGUFDialect = {
    var dialect = GGUFDialect("olmo2", model: "olmo2", class: "Olmo2ForCausalLM")
    dialect.flags = olmo.flags
    dialect.refusedByLoader = olmo.refusedByLoader
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()
}
