extension ModelFamily {
  /// Mistral 7B and its successors of the same build.
  static let mistral = decoder(
    name: "mistral", summary: "Llama with a window on every layer, or on none.",
    modelTypes: ["mistral"], architectures: ["MistralForCausalLM"], gguf: .mistral
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike("mistral", &reader)
    try decoder.readWindow(&reader, fallback: 4096)
    return decoder
  }

  /// Mixtral: Mistral with experts.
  static let mixtral = decoder(
    name: "mixtral", summary: "Mistral whose feed-forwards are experts, two of eight for each token.",
    modelTypes: ["mixtral"], architectures: ["MixtralForCausalLM"], gguf: .mixtral
  ) { (reader) throws(ArchitectureError) in
    var rotary = RotarySettings.Defaults()
    rotary.theta = 1_000_000
    var decoder = try Decoder.llamaLike("mixtral", &reader, epsilon: 1e-5, rotary: rotary)
    try decoder.readWindow(&reader)
    var experts = try Experts(
      &reader, inner: decoder.sizes.intermediateSize, countKeys: ["num_local_experts", "num_experts"],
      defaultCount: 8, defaultChosen: 2)
    experts.router = "block_sparse_moe.gate"
    experts.prefix = "block_sparse_moe.experts"
    (experts.gate, experts.up, experts.down) = ("w1", "w3", "w2")
    decoder.setFeedForwards(.experts(experts))
    return decoder
  }
}
