extension ModelFamily {
  /// SmolLM3.
  static let smolLM3 = decoder(
    name: "smollm3", summary: "Llama whose every fourth layer has no positions.",
    modelTypes: ["smollm3"], architectures: ["SmolLM3ForCausalLM"], gguf: .smolLM3
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.llamaLike(
      "smollm3", &reader, isTied: true, rotary: .init(theta: 2_000_000), keys: .init(defaultKVHeads: 4))
    try decoder.readAttentionBias(&reader)
    decoder.feedForwardBias = try reader.bool("mlp_bias", default: false)
    let count = decoder.sizes.layerCount
    let interval = try reader.integer("no_rope_layer_interval", in: 1...10_000, default: 4)
    let given = try reader.optionalIntegers("no_rope_layers", in: 0...1)
    let rotated = given ?? (0..<count).map { ($0 + 1).isMultiple(of: interval) ? 0 : 1 }
    guard rotated.count >= count else {
      throw .configuration(
        key: reader.path("no_rope_layers"), expected: "\(count) numbers", found: "\(rotated.count)")
    }
    for layer in 0..<count where rotated[layer] == 0 { decoder.rotary[layer] = nil }
    let isOn = try reader.bool("use_sliding_window", default: false)
    let window = try Decoder.window(&reader)
    try decoder.readLayerWindows(&reader, window: isOn ? window : nil) { rotated[$0] == 0 }
    return decoder
  }
}
