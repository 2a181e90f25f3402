import SafeIO

extension GGUFDialect {
  /// Llama; its files keep query and key rows in the order of rotary pairs.
  static let llama: GGUFDialect = {
    var dialect = GGUFDialect("llama", model: "llama", class: "LlamaForCausalLM")
    dialect.isMeant = { $0.isZero("expert_count") && $0.isZero("attention.sliding_window") }
    dialect.rotary = Rotary(order: .neighbours, tables: .all)
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_gate.bias")]
    return dialect
  }()

  /// Mistral, a Llama with a window.
  static let mistral: GGUFDialect = {
    var dialect = GGUFDialect("llama", model: "mistral", class: "MistralForCausalLM")
    dialect.isMeant = { $0.isZero("expert_count") && !$0.isZero("attention.sliding_window") }
    dialect.rotary = llama.rotary
    dialect.windows = Windows()
    return dialect
  }()

  /// Mixtral, a Llama with experts.
  static let mixtral: GGUFDialect = {
    var dialect = GGUFDialect("llama", model: "mixtral", class: "MixtralForCausalLM")
    dialect.isMeant = { !$0.isZero("expert_count") }
    dialect.rotary = llama.rotary
    dialect.windows = Windows()
    dialect.experts = ExpertKeys(count: "num_local_experts")
    return dialect
  }()

  /// SmolLM3, whose every fourth layer is not rotated.
  static let smolLM3: GGUFDialect = {
    var dialect = GGUFDialect(
      "smollm3", model: "smollm3", class: "SmolLM3ForCausalLM",
      ["hidden_act": "silu", "no_rope_layer_interval": 4])
    dialect.rotary = Rotary(order: .neighbours)
    dialect.windows = Windows(hasSwitch: true)
    dialect.flags = llama.flags
    dialect.refusedByLoader = { decoder in
      (decoder.attention.outputBias ? ["blk.#.attn_output.bias"] : [])
        + (decoder.feedForwardBias ? ["blk.#.ffn_up.bias"] : [])
    }
    return dialect
  }()

  /// Granite; what files call scale of the logits divides them.
  static let granite: GGUFDialect = {
    var dialect = GGUFDialect("granite", model: "granite", class: "GraniteForCausalLM")
    dialect.rotary = llama.rotary
    dialect.flags = llama.flags
    var logits = Entry.number("logit_scale", "logits_scaling", write: { 1 / $0.logitScale })
    logits.isRequired = true
    dialect.entries = [
      logits,
      .number(
        "residual_scale", "residual_multiplier", write: \.residualScale,
        read: { value, _ in .nonzero(value, else: 1) }),
      .number(
        "embedding_scale", "embedding_multiplier", write: \.embeddingScale,
        read: { value, _ in .nonzero(value, else: 1) }),
      .number(
        "attention.scale", "attention_multiplier", write: \.attention.scale,
        read: { value, result in
          let width = Double(result["head_dim"]?.intValue ?? 1)
          return .nonzero(value, else: 1 / width.squareRoot())
        }),
    ]
    dialect.complete = { (_, _, reader) throws(ArchitectureError) in
      try reader.require(
        "rope.scaling.finetuned", among: [true], otherwise: "layers without rotary positions are not computed"
      )
    }
    return dialect
  }()

  /// Seed-OSS.
  static let seedOSS: GGUFDialect = {
    var dialect = GGUFDialect("seed_oss", model: "seed_oss", class: "SeedOssForCausalLM")
    dialect.flags = [
      ("attention_bias", "blk.0.attn_q.bias"), ("attention_out_bias", "blk.0.attn_output.bias"),
      ("mlp_bias", "blk.0.ffn_gate.bias"),
    ]
    dialect.renamed = { _ in ["ffn_norm": "post_attention_norm"] }
    dialect.refusedByLoader = smolLM3.refusedByLoader
    return dialect
  }()

  /// ERNIE 4.5 without experts.
  static let ernie: GGUFDialect = {
    var dialect = GGUFDialect("ernie4_5", model: "ernie4_5", class: "Ernie4_5ForCausalLM")
    dialect.rotary = Rotary(order: .neighbours)
    dialect.flags = [("use_bias", "blk.0.attn_q.bias")]
    dialect.refusedByLoader = { $0.feedForwardBias ? ["blk.#.ffn_up.bias"] : [] }
    return dialect
  }()
}

extension JSONObject {
  /// Whether a key is absent or 0.
  fileprivate func isZero(_ key: String) -> Bool { (self[key]?.doubleValue ?? 0) == 0 }
}

extension JSONValue {
  /// The number, or the other one where files have none or 0.
  static func nonzero(_ value: Double?, else fallback: Double) -> JSONValue {
    .number(value.flatMap { $0 == 0 ? nil : $0 } ?? fallback)
  }
}
