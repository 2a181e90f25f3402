import OrderedCollections
import SafeIO

/// Experts behind some layers that have none.
extension GGUFDialect {
  /// The layers of a file without those at its end that predict further tokens.
  func withoutSpareLayers(
    _ blocks: Int, _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) -> Int {
    guard lateExperts != nil else { return blocks }
    let spare = try reader.optionalInteger("nextn_predict_layers", in: 0...64) ?? 0
    guard spare < blocks else {
      throw .configuration(
        key: reader.path("nextn_predict_layers"), expected: "less than block_count \(blocks)",
        found: "\(spare)")
    }
    if spare > 0 { result["num_nextn_predict_layers"] = JSONValue(spare) }
    return blocks - spare
  }

  func readLateExperts(
    _ keys: LateExperts, _ reader: inout ConfigurationReader, into result: inout JSONObject
  ) throws(ArchitectureError) {
    let count = try reader.integer("expert_count", in: 1...4096)
    result["n_routed_experts"] = JSONValue(count)
    result["num_experts_per_tok"] = JSONValue(try reader.integer("expert_used_count", in: 1...count))
    result["moe_intermediate_size"] = JSONValue(
      try reader.integer("expert_feed_forward_length", in: 1...1 << 22))
    result["n_shared_experts"] = JSONValue(
      try reader.optionalInteger("expert_shared_count", in: 0...4096) ?? 0)
    result["first_k_dense_replace"] = JSONValue(
      try reader.optionalInteger("leading_dense_block_count", in: 0...10_000) ?? 0)
    result["routed_scaling_factor"] = .nonzero(
      try reader.optionalNumber("expert_weights_scale", in: 0...1e9), else: 1)
    result["norm_topk_prob"] = .bool(try reader.bool("expert_weights_norm", default: false))
    let scores = keys.isSigmoid ? 2 : 1
    let found = try reader.optionalInteger("expert_gating_func", in: 0...100) ?? 0
    guard found == 0 || found == scores else {
      throw .unsupported(
        key: reader.path("expert_gating_func"), found: "\(found)",
        reason: "only \(scores) is computed for this family")
    }
    let groups = max(try reader.optionalInteger("expert_group_count", in: 0...count) ?? 1, 1)
    let kept = max(try reader.optionalInteger("expert_group_used_count", in: 0...groups) ?? groups, 1)
    result["n_group"] = JSONValue(groups)
    result["topk_group"] = JSONValue(kept)
    if !keys.isSigmoid { result["topk_method"] = groups > 1 ? "group_limited_greedy" : "greedy" }
  }

  func writeLateExperts(
    _ keys: LateExperts, _ decoder: Decoder, into result: inout GGUFDescription
  ) throws(ArchitectureError) {
    var dense = 0
    var mixture: Experts?
    for part in decoder.feedForwards {
      if case .experts(let experts) = part { mixture = mixture ?? experts } else { dense += 1 }
    }
    guard let experts = mixture else {
      throw .unsupported(
        key: "first_k_dense_replace", found: "no layer with experts",
        reason: "GGUF files of architecture '\(architecture)' cannot say this")
    }
    let prefix = architecture + ".expert_"
    let shared = (experts.shared?.inner ?? 0) / experts.inner
    for (key, value, name) in [
      ("count", experts.count, "n_routed_experts"), ("used_count", experts.chosen, "num_experts_per_tok"),
      ("feed_forward_length", experts.inner, "moe_intermediate_size"),
      ("shared_count", shared, "n_shared_experts"), ("gating_func", keys.isSigmoid ? 2 : 1, "scoring_func"),
    ] {
      result.metadata[prefix + key] = try Self.count(value, name)
    }
    result.metadata[architecture + ".leading_dense_block_count"] = try Self.count(
      dense, "first_k_dense_replace")
    result.metadata[prefix + "weights_scale"] = .float32(Float(experts.factor))
    result.metadata[prefix + "weights_norm"] = .bool(experts.isNormalized)
    guard experts.groups > 1 else { return }
    result.metadata[prefix + "group_count"] = try Self.count(experts.groups, "n_group")
    result.metadata[prefix + "group_used_count"] = try Self.count(experts.keptGroups, "topk_group")
    if experts.keptGroups == experts.groups {
      result.warn("does not load files in which all groups of experts are chosen from")
    } else if !keys.isSigmoid {
      result.warn("chooses groups of experts by the sum of their two best, not by their best")
    }
  }
}
