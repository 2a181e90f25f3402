import SafeIO

extension ModelFamily {
  /// gpt-oss.
  static let gptOSS: ModelFamily = {
    var family = decoder(
      name: "gpt-oss",
      summary: "Experts with biases behind limited gates, attention sinks, windows on every other layer.",
      modelTypes: ["gpt_oss"], architectures: ["GptOssForCausalLM"], gguf: .gptOSS
    ) { (reader) throws(ArchitectureError) in
      let keys = SizeKeys(defaultContext: 131_072, defaultKVHeads: 8, defaultHeadDimension: 64)
      var decoder = try Decoder.llamaLike(
        "gpt-oss", &reader, epsilon: 1e-5, rotary: .init(theta: 150_000), keys: keys)
      if reader.value("rope_parameters") == nil, reader.value("rope_scaling") == nil {
        decoder.stretchToPublishedContext()
      }
      try decoder.readAttentionBias(&reader, default: true)
      decoder.attention.hasSinks = true
      let window = try Decoder.window(&reader, fallback: 128)
      try decoder.readLayerWindows(&reader, window: window) { $0.isMultiple(of: 2) }
      decoder.setFeedForwards(.experts(try Experts(gptOSS: &reader, inner: decoder.sizes.intermediateSize)))
      reader.ignore(["initial_context_length"])
      return decoder
    }
    family.stacksExperts = true
    return family
  }()
}

extension Decoder {
  /// The scaling of configurations that say nothing of it.
  fileprivate mutating func stretchToPublishedContext() {
    for (layer, plain) in rotary.enumerated() {
      rotary[layer] = plain.map {
        RotaryEmbedding(
          theta: $0.theta, dimension: $0.dimension,
          scaling: .yarn(
            .init(
              factor: 32, fast: 32, slow: 1, isTruncated: false, originalContext: 4096,
              magnitude: RotarySettings.yarnMagnitude(32, 1))))
      }
    }
  }
}

extension Experts {
  fileprivate init(gptOSS reader: inout ConfigurationReader, inner: Int) throws(ArchitectureError) {
    try reader.requireAgreement(["num_experts_per_tok", "experts_per_token"])
    reader.ignore(["experts_per_token"])
    try self.init(
      &reader, inner: inner, countKeys: ["num_local_experts", "num_experts"], defaultCount: 128,
      defaultChosen: 4)
    limit = try reader.number("swiglu_limit", in: 1e-6...1e9, default: 7)
    try reader.require(
      "swiglu_alpha", among: [.number(1.702)], otherwise: "gates of another steepness are not computed")
    router = "mlp.router"
    routerHasBias = true
    hasBias = true
  }
}
