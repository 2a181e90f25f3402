import SafeIO

extension GGUFDialect {
  /// gpt-oss; files mean the limit 7 of its gates.
  static let gptOSS: GGUFDialect = {
    var dialect = GGUFDialect("gpt-oss", model: "gpt_oss", class: "GptOssForCausalLM")
    dialect.rotary?.truncatesYarn = false
    dialect.windows = Windows(fallback: 128, period: 2, isComputedByPeer: true)
    dialect.experts = ExpertKeys(count: "num_local_experts", inner: "intermediate_size")
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias")]
    dialect.renamed = { _ in ["ffn_norm": "post_attention_norm"] }
    dialect.complete = { (result, _, _) throws(ArchitectureError) in
      // The configuration's own default is another one.
      if result["rope_scaling"] == nil { result["rope_scaling"] = ["rope_type": "default"] }
    }
    dialect.refusedByLoader = { $0.attention.outputBias ? [] : ["no biases"] }
    dialect.needsHead = true
    return dialect
  }()
}
