import SafeIO

extension ModelFamily {
  /// DeepSeek-V2 and its Lite and Coder models.
  static let deepSeek2 = decoder(
    name: "deepseek2",
    summary: "Keys and values from one narrow vector, experts chosen by softmax, shared experts.",
    modelTypes: ["deepseek_v2"], architectures: ["DeepseekV2ForCausalLM"], gguf: .deepSeek2
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.deepSeek("deepseek2", &reader)
    decoder.feedForwardBias = try reader.bool("mlp_bias", default: false)
    var experts = try Experts(
      &reader, inner: try reader.integer("moe_intermediate_size", in: 1...1 << 22, default: 1407),
      countKeys: ["n_routed_experts", "num_experts"], defaultCount: 64, defaultChosen: 6)
    try reader.require("scoring_func", among: ["softmax"], otherwise: "only softmax scores are computed")
    try reader.require(
      "norm_topk_prob", among: [false], otherwise: "weights that add up to one are not computed")
    experts.isNormalized = false
    let method = try reader.optionalString("topk_method") ?? "greedy"
    switch method {
    case "greedy": reader.ignore(["n_group", "topk_group"])
    case "group_limited_greedy": try experts.readGroups(&reader, count: 1, kept: 1)
    default:
      throw .unsupported(
        key: reader.path("topk_method"), found: method,
        reason: "only greedy and group_limited_greedy are computed")
    }
    try decoder.setLateExperts(&reader, experts, shared: 2, dense: 0, factor: 1)
    return decoder
  }

  /// DeepSeek-V3 and R1.
  static let deepSeek3 = decoder(
    name: "deepseek3",
    summary: "DeepSeek-V2 whose experts are chosen by sigmoid scores with corrections, out of some groups.",
    modelTypes: ["deepseek_v3"], architectures: ["DeepseekV3ForCausalLM"], gguf: .deepSeek3
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.deepSeek("deepseek3", &reader)
    decoder.attention.isInterleaved = try reader.bool("rope_interleave", default: true)
    let experts = try Experts(
      &reader, sigmoidOf: try reader.integer("moe_intermediate_size", in: 1...1 << 22, default: 2048),
      count: 256, groups: 8, kept: 4)
    try decoder.setLateExperts(&reader, experts, shared: 1, dense: 3, factor: 2.5)
    return decoder
  }
}

extension Decoder {
  fileprivate static func deepSeek(
    _ family: String, _ reader: inout ConfigurationReader
  ) throws(ArchitectureError) -> Decoder {
    let keys = SizeKeys(kvHeads: nil, headDimension: nil, defaultHeadDimension: 1)
    var decoder = Decoder(family, sizes: try ModelConfiguration(&reader, keys: keys))
    try decoder.readActivation(&reader, ["hidden_act"], default: "silu")
    decoder.normalization = .rootMeanSquare(
      epsilon: try reader.number("rms_norm_eps", in: 0...1, default: 1e-6), offset: 0)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: false)
    try decoder.readAttentionBias(&reader)
    try decoder.readLatentAttention(&reader, queryRank: 1536, rank: 512)
    decoder.attention.isInterleaved = true
    try decoder.readSpareLayers(&reader)
    return decoder
  }

  /// Layers behind the last block that predict further tokens.
  mutating func readSpareLayers(_ reader: inout ConfigurationReader) throws(ArchitectureError) {
    spareLayers = try reader.integer(
      reader.key(among: ["num_nextn_predict_layers", "num_mtp_layers"]), in: 0...64, default: 0)
  }

  /// Experts in all layers but the first ones, which are dense.
  mutating func setLateExperts(
    _ reader: inout ConfigurationReader, _ experts: Experts, shared: Int, dense: Int, factor: Double
  ) throws(ArchitectureError) {
    var experts = experts
    experts.factor = try reader.number("routed_scaling_factor", in: 1e-9...1e9, default: factor)
    let count =
      try reader.optionalInteger("n_shared_experts", in: 0...4096)
      ?? (reader.has("n_shared_experts") ? 0 : shared)
    if count > 0 {
      experts.shared = .init(
        inner: experts.inner * count, prefix: "mlp.shared_experts", hasBias: feedForwardBias)
    }
    try reader.require("moe_layer_freq", among: [1], otherwise: "experts in some layers are not computed")
    let first = try reader.integer("first_k_dense_replace", in: 0...10_000, default: dense)
    for layer in 0..<sizes.layerCount where layer >= first { feedForwards[layer] = .experts(experts) }
  }
}

extension Experts {
  /// Reads how many groups the experts form, and out of how many of them a token's experts are chosen.
  mutating func readGroups(
    _ reader: inout ConfigurationReader, count fallback: Int, kept: Int
  ) throws(ArchitectureError) {
    groups = try reader.integer("n_group", in: 1...count, default: min(fallback, count))
    keptGroups = try reader.integer("topk_group", in: 1...groups, default: min(kept, groups))
  }

  /// Experts chosen by sigmoid scores with corrections, out of the groups with the largest sums of two.
  init(
    _ reader: inout ConfigurationReader, sigmoidOf inner: Int, count: Int, groups: Int, kept: Int
  ) throws(ArchitectureError) {
    try self.init(
      &reader, inner: inner, countKeys: ["n_routed_experts", "num_local_experts"], defaultCount: count,
      defaultChosen: 8)
    try reader.require("scoring_func", among: ["sigmoid"], otherwise: "only sigmoid scores are computed")
    try reader.require("topk_method", among: ["noaux_tc"], otherwise: "only noaux_tc is computed")
    scores = "sigmoid"
    isNormalized = try reader.bool("norm_topk_prob", default: true)
    correction = "mlp.gate.e_score_correction_bias"
    try readGroups(&reader, count: groups, kept: kept)
    groupTop = min(2, self.count / self.groups)
  }
}
