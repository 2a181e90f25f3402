extension ModelFamily {
  /// Gemma.
  static let gemma = decoder(
    name: "gemma",
    summary: "Llama with wide heads, GELU, a scaled embedding, and norms that add one to their weights.",
    modelTypes: ["gemma"], architectures: ["GemmaForCausalLM"], gguf: .gemma
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.gemma("gemma", &reader)
    // The first configurations said gelu and meant its approximation.
    if decoder.activation == .gelu(approximate: "none") { decoder.activation = .gelu(approximate: "tanh") }
    try decoder.readRotary(&reader)
    return decoder
  }

  /// Gemma 2.
  static let gemma2 = decoder(
    name: "gemma2",
    summary: "Normalizations before and after each part, soft caps, windows on every other layer.",
    modelTypes: ["gemma2"], architectures: ["Gemma2ForCausalLM"], gguf: .gemma2
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.gemma("gemma2", &reader)
    try decoder.readGemmaAttention(&reader, logitCap: 30, attentionCap: 50)
    try decoder.readRotary(&reader)
    let window = try Decoder.window(&reader, fallback: 4096)
    try decoder.readLayerWindows(&reader, window: window) { $0.isMultiple(of: 2) }
    return decoder
  }

  /// The text part of Gemma 3.
  static let gemma3 = decoder(
    name: "gemma3",
    summary:
      "Gemma 2 with normalized heads, no caps, and rotary bases by kind of layer, full on every sixth.",
    modelTypes: ["gemma3_text"], architectures: ["Gemma3ForCausalLM"], gguf: .gemma3
  ) { (reader) throws(ArchitectureError) in
    var decoder = try Decoder.gemma("gemma3", &reader)
    try decoder.readGemmaAttention(&reader, logitCap: 0, attentionCap: 0)
    decoder.normalizeHeads()
    let window = try Decoder.window(&reader, fallback: 4096)
    let key = reader.key(among: ["sliding_window_pattern", "_sliding_window_pattern"])
    let pattern = try reader.integer(key, in: 1...10_000, default: 6)
    let sliding = try decoder.readLayerWindows(&reader, window: window) {
      !($0 + 1).isMultiple(of: pattern)
    }
    let global = RotarySettings.Defaults(theta: 1_000_000, layerType: "full_attention")
    let local = RotarySettings.Defaults(
      theta: 10_000, thetaKeys: ["rope_local_base_freq"], layerType: "sliding_attention", isScaled: false)
    try decoder.readRotary(&reader, global)
    let full = decoder.rotary
    try decoder.readRotary(&reader, local)
    for layer in sliding.indices where !sliding[layer] { decoder.rotary[layer] = full[layer] }
    return decoder
  }
}

extension Decoder {
  /// What all Gemmas share; their RMS norms multiply with one more than the weight.
  fileprivate static func gemma(
    _ family: String, _ reader: inout ConfigurationReader
  ) throws(ArchitectureError) -> Decoder {
    let keys = SizeKeys(defaultContext: 8192, defaultHeadDimension: 256)
    var decoder = Decoder(family, sizes: try ModelConfiguration(&reader, keys: keys))
    try decoder.readActivation(
      &reader, ["hidden_activation", "hidden_act"], default: "gelu_pytorch_tanh")
    decoder.normalization = .rootMeanSquare(
      epsilon: try reader.number("rms_norm_eps", in: 0...1, default: 1e-6), offset: 1)
    decoder.embeddingScale = Double(decoder.sizes.hiddenSize).squareRoot()
    decoder.isTied = try reader.bool("tie_word_embeddings", default: true)
    try decoder.readAttentionBias(&reader)
    return decoder
  }

  /// Scale, caps and normalizations of Gemma 2 and 3.
  fileprivate mutating func readGemmaAttention(
    _ reader: inout ConfigurationReader, logitCap: Double, attentionCap: Double
  ) throws(ArchitectureError) {
    let scalar = try reader.number("query_pre_attn_scalar", in: 1e-6...1e9, default: 256)
    attention.scale = 1 / scalar.squareRoot()
    attention.softcap = try reader.cap("attn_logit_softcapping", default: attentionCap)
    logitSoftcap = try reader.cap("final_logit_softcapping", default: logitCap)
    names.afterAttentionNorm = "post_attention_layernorm"
    names.feedForwardNorm = "pre_feedforward_layernorm"
    names.afterFeedForwardNorm = "post_feedforward_layernorm"
  }
}

extension ConfigurationReader {
  /// A cap; null for none.
  fileprivate mutating func cap(_ key: String, default fallback: Double) throws(ArchitectureError) -> Double {
    let isGiven = has(key)
    return try optionalNumber(key, in: 1e-6...1e9) ?? (isGiven ? 0 : fallback)
  }
}
