extension ModelFamily {
  /// ERNIE 4.5 without experts.
  static let ernie = decoder(
    name: "ernie4-5", summary: "Llama with neighbouring rotary pairs and a tied head.",
    modelTypes: ["ernie4_5"], architectures: ["Ernie4_5ForCausalLM"], gguf: .ernie
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike(
      "ernie4-5", &reader, epsilon: 1e-5, isTied: true, rotary: .init(theta: 500_000),
      keys: .init(defaultKVHeads: 2, defaultHeadDimension: 128))
    try decoder.readAttentionBias(&reader, key: "use_bias")
    decoder.feedForwardBias = decoder.attention.outputBias
    decoder.attention.isInterleaved = true
    return decoder
  }
}
