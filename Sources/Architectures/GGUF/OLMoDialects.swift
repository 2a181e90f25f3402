import SafeIO

extension GGUFDialect {
  /// OLMo.
  static let olmo: GGUFDialect = {
    var dialect = GGUFDialect("olmo", model: "olmo", class: "OlmoForCausalLM")
    dialect.epsilon = .fixedLayer(1e-5)
    dialect.rotary = Rotary(order: .neighbours)
    dialect.entries = [.clip]
    dialect.flags = [("attention_bias", "blk.0.attn_q.bias")]
    dialect.refusedByLoader = { $0.attention.outputBias ? ["blk.#.attn_output.bias"] : [] }
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// OLMo 2.
  static let olmo2: GGUFDialect = {
    var dialect = GGUFDialect("olmo2", model: "olmo2", class: "Olmo2ForCausalLM")
    dialect.isMeant = { ($0["attention.sliding_window"]?.intValue ?? 0) == 0 }
    dialect.flags = olmo.flags
    dialect.refusedByLoader = olmo.refusedByLoader
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// OLMo 3, an OLMo 2 with windows, whose layers with a window have no scaling.
  static let olmo3: GGUFDialect = {
    var dialect = GGUFDialect("olmo2", model: "olmo3", class: "Olmo3ForCausalLM")
    dialect.isMeant = { !olmo2.isMeant($0) }
    dialect.rotary = Rotary(localThetaKey: localThetaKey, localTheta: nil)
    dialect.windows = Windows(period: 4, isComputedByPeer: true)
    dialect.flags = olmo.flags
    dialect.complete = { (result, _, _) throws(ArchitectureError) in
      var full = result["rope_scaling"]?.objectValue ?? ["rope_type": "default"]
      full["rope_theta"] = result["rope_theta"]
      let sliding: JSONValue = ["rope_type": "default", "rope_theta": result[localThetaKey] ?? .null]
      result["rope_parameters"] = ["full_attention": .object(full), "sliding_attention": sliding]
      for key in ["rope_scaling", "rope_theta", localThetaKey] { result[key] = nil }
    }
    dialect.refusedByLoader = olmo.refusedByLoader
    dialect.computedOtherwise = { decoder in
      let bases = Set(decoder.rotary.compactMap { $0?.theta })
      return bases.count > 1 ? ["takes one base of the rotary positions for all layers"] : []
    }
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// OLMoE.
  static let olmoe: GGUFDialect = {
    var dialect = GGUFDialect("olmoe", model: "olmoe", class: "OlmoeForCausalLM")
    dialect.experts = ExpertKeys(isNormalized: false, normalizationKey: "norm_topk_prob")
    var clip = Entry.clip
    clip.isComputedByPeer = false
    dialect.entries = [clip]
    dialect.flags = olmo.flags
    dialect.refusedByLoader = { decoder in
      let hasFewerKeys = decoder.sizes.kvHeadCount < decoder.sizes.headCount
      return olmo.refusedByLoader(decoder) + (hasFewerKeys ? ["fewer key heads than query heads"] : [])
    }
    dialect.needsHead = true
    dialect.assumesFullHeads = true
    return dialect
  }()

  /// Where a base waits for its place in `rope_parameters`.
  private static let localThetaKey = "sliding_attention.rope_theta"
}

extension GGUFDialect.Entry {
  /// The limit of queries, keys and values; 0 for none.
  fileprivate static let clip = number(
    "attention.clamp_kqv", "clip_qkv", write: \.attention.clip,
    read: { value, _ in value.flatMap { $0 == 0 ? nil : .number($0) } })
}
