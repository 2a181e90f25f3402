import SafeIO

extension GGUFDialect {
  /// GPT-2.
  static let gpt2: GGUFDialect = {
    var dialect = GGUFDialect(
      "gpt2", model: "gpt2", class: "GPT2LMHeadModel", ["activation_function": "gelu_new"])
    dialect.sizes = .gpt2
    dialect.innerKey = "n_inner"
    dialect.epsilon = .layer("layer_norm_epsilon")
    dialect.rotary = nil
    return dialect
  }()

  /// BLOOM.
  static let bloom: GGUFDialect = {
    var dialect = GGUFDialect("bloom", model: "bloom", class: "BloomForCausalLM", [:])
    dialect.sizes = .bloom
    dialect.epsilon = .layer("layer_norm_epsilon")
    dialect.rotary = nil
    dialect.complete = { (_, _, reader) throws(ArchitectureError) in
      try reader.require(
        "attention.max_alibi_bias", among: [8], otherwise: "slopes of another steepness are not computed")
    }
    return dialect
  }()

  /// StarCoder2.
  static let starCoder2: GGUFDialect = {
    var dialect = GGUFDialect(
      "starcoder2", model: "starcoder2", class: "Starcoder2ForCausalLM",
      ["hidden_act": "gelu_pytorch_tanh"])
    dialect.epsilon = .layer("norm_epsilon")
    dialect.windows = Windows()
    dialect.flags = [("use_bias", "blk.0.attn_q.bias")]
    dialect.refusedByLoader = { $0.attention.outputBias ? [] : ["no biases"] }
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// Nemotron.
  static let nemotron: GGUFDialect = {
    var dialect = GGUFDialect(
      "nemotron", model: "nemotron", class: "NemotronForCausalLM", ["hidden_act": "relu2"])
    dialect.epsilon = .layer("norm_eps")
    dialect.rotary?.fractionKey = "partial_rotary_factor"
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_up.bias")]
    dialect.complete = { (_, _, reader) throws(ArchitectureError) in
      // The converter writes the epsilon under this key, too.
      reader.ignore(["attention.layer_norm_rms_epsilon"])
    }
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// GLM-4.
  static let glm4: GGUFDialect = {
    var dialect = GGUFDialect("glm4", model: "glm4", class: "Glm4ForCausalLM")
    dialect.rotary = Rotary(order: .neighbours, fractionKey: "partial_rotary_factor")
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias")]
    return dialect
  }()

  /// GLM-4.5.
  static let glm4MoE: GGUFDialect = {
    var dialect = GGUFDialect("glm4moe", model: "glm4_moe", class: "Glm4MoeForCausalLM")
    dialect.rotary?.fractionKey = "partial_rotary_factor"
    dialect.lateExperts = LateExperts(isSigmoid: true)
    dialect.flags = [
      ("attention_bias", "blk.0.attn_q.bias"), ("use_qk_norm", "blk.0.attn_q_norm.weight"),
    ]
    dialect.renamed = { _ in ["ffn_norm": "post_attention_norm"] }
    return dialect
  }()
}
