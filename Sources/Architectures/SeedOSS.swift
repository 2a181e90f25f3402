extension ModelFamily {
  /// Seed-OSS.
  static let seedOSS = decoder(
    name: "seed-oss", summary: "Llama with biases on queries, keys and values.", modelTypes: ["seed_oss"],
    architectures: ["SeedOssForCausalLM"], gguf: .seedOSS
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike(
      "seed-oss", &reader, keys: .init(defaultKVHeads: 8, defaultHeadDimension: 128))
    decoder.attention.inputBias = try reader.bool("attention_bias", default: true)
    decoder.attention.outputBias = try reader.bool("attention_out_bias", default: false)
    decoder.feedForwardBias = try reader.bool("mlp_bias", default: false)
    return decoder
  }
}
