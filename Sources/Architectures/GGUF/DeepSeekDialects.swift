import SafeIO

extension GGUFDialect {
  /// DeepSeek-V2.
  static let deepSeek2: GGUFDialect = {
    var dialect = GGUFDialect("deepseek2", model: "deepseek_v2", class: "DeepseekV2ForCausalLM")
    dialect.isMeant = { ($0["expert_gating_func"]?.intValue ?? 0) != 2 }
    dialect.sizes = SizeKeys(kvHeads: nil, headDimension: nil)
    dialect.isLatent = true
    dialect.rotary = Rotary(order: .neighbours, hasScoreWeight: true)
    dialect.lateExperts = LateExperts(isSigmoid: false)
    dialect.flags = [("attention_bias", "blk.0.attn_kv_a_mqa.bias")]
    dialect.refusedByLoader = { decoder in
      let hasShared = decoder.feedForwards.allSatisfy { part in
        if case .experts(let experts) = part { experts.shared != nil } else { true }
      }
      return (decoder.attention.outputBias ? ["biases"] : []) + (hasShared ? [] : ["no shared experts"])
    }
    dialect.computedOtherwise = { decoder in
      let magnitude = decoder.rotary.first??.magnitude ?? 1
      let plain = decoder.attention.latent?.plain ?? 0
      return
        (abs(magnitude - 1) > 1e-6
        ? ["multiplies scores by the square of the magnitude \(magnitude) of rotary positions once more"]
        : [])
        + (plain.isMultiple(of: 2) ? [] : ["ends when heads have an odd number of unrotated columns"])
    }
    return dialect
  }()

  /// DeepSeek-V3, whose files tell by their sigmoid scores.
  static let deepSeek3: GGUFDialect = {
    var dialect = GGUFDialect("deepseek2", model: "deepseek_v3", class: "DeepseekV3ForCausalLM")
    dialect.isMeant = { $0["expert_gating_func"]?.intValue == 2 }
    dialect.sizes = deepSeek2.sizes
    dialect.isLatent = true
    dialect.rotary = deepSeek2.rotary
    dialect.lateExperts = LateExperts(isSigmoid: true)
    dialect.flags = deepSeek2.flags
    dialect.refusedByLoader = deepSeek2.refusedByLoader
    dialect.computedOtherwise = deepSeek2.computedOtherwise
    return dialect
  }()
}
