import SafeIO

extension GGUFDialect {
  /// Command R.
  static let cohere: GGUFDialect = {
    var dialect = GGUFDialect("command-r", model: "cohere", class: "CohereForCausalLM")
    dialect.epsilon = .layer("layer_norm_eps")
    dialect.rotary = Rotary(order: .neighbours)
    dialect.entries = [
      .number(
        "logit_scale", "logit_scale", write: \.logitScale, read: { value, _ in .nonzero(value, else: 1) })
    ]
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias"), ("use_qk_norm", "blk.0.attn_q_norm.weight")]
    dialect.refusedByLoader = { decoder in
      let hasNorms = decoder.attention.queryKeyNorm != nil
      let layers = decoder.sizes.layerCount
      return (decoder.attention.outputBias ? ["blk.#.attn_output.bias"] : [])
        + (decoder.isTied ? [] : ["a head of its own"])
        + (hasNorms == (layers >= 64)
          ? [] : ["\(layers) layers \(hasNorms ? "with" : "without") norms of heads"])
    }
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// Falcon; the newer ones have a norm for each part, which files call otherwise than their place.
  static let falcon: GGUFDialect = {
    var dialect = GGUFDialect(
      "falcon", model: "falcon", class: "FalconForCausalLM",
      ["activation": "gelu", "alibi": false, "parallel_attn": true])
    dialect.sizes = .falcon
    dialect.innerKey = "ffn_hidden_size"
    dialect.epsilon = .layer("layer_norm_epsilon")
    dialect.flags = [("bias", "blk.0.attn_qkv.bias")]
    dialect.renamed = { decoder in
      decoder.names.feedForwardNorm == "ln_mlp" ? ["attn_norm": "attn_norm_2", "ffn_norm": "attn_norm"] : [:]
    }
    dialect.complete = { (result, contents, _) throws(ArchitectureError) in
      let hasTwo = contents.hasTensor("blk.0.attn_norm_2.weight")
      let isNew = hasTwo || result["num_kv_heads"] != 1
      result["new_decoder_architecture"] = .bool(isNew)
      result["multi_query"] = .bool(!isNew)
      if isNew { result["num_ln_in_parallel_attn"] = hasTwo ? 2 : 1 }
    }
    dialect.refusedByLoader = { $0.attention.outputBias ? ["biases"] : [] }
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// GPT-NeoX.
  static let gptNeoX: GGUFDialect = {
    var dialect = GGUFDialect(
      "gptneox", model: "gpt_neox", class: "GPTNeoXForCausalLM", ["hidden_act": "gelu"])
    dialect.sizes = .gptNeoX
    dialect.epsilon = .layer("layer_norm_eps")
    dialect.rotary = Rotary(thetaKey: "rotary_emb_base", fractionKey: "rotary_pct")
    let key = "use_parallel_residual"
    dialect.entries = [
      Entry(name: key, key: key, kind: .flag { $0 }, isRequired: true) { .bool($0.residual == .parallel) }
    ]
    dialect.flags = [("attention_bias", "blk.0.attn_qkv.bias")]
    dialect.refusedByLoader = { $0.attention.outputBias ? [] : ["no biases"] }
    dialect.needsHead = true
    return dialect
  }()

  /// StableLM; files show by the norms of feed-forwards whether parts are parallel, whatever the key says.
  static let stableLM: GGUFDialect = {
    var dialect = GGUFDialect("stablelm", model: "stablelm", class: "StableLmForCausalLM")
    dialect.sizes = .stableLM
    dialect.epsilon = .layer("layer_norm_eps")
    dialect.rotary?.fractionKey = "partial_rotary_factor"
    let key = "use_parallel_residual"
    dialect.entries = [
      Entry(name: key, key: key, kind: .flag { $0 }) { .bool($0.residual == .parallel) }
    ]
    dialect.flags = [
      ("use_qkv_bias", "blk.0.attn_q.bias"), ("qk_layernorm", "blk.0.attn_q_norm.weight"),
    ]
    dialect.complete = { (result, contents, _) throws(ArchitectureError) in
      result[key] = .bool(!contents.hasTensor("blk.0.ffn_norm.weight"))
    }
    dialect.needsHead = true
    return dialect
  }()
}
