import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

extension ModelFamily {
  /// Llama 1 to 3, and everything that calls itself LlamaForCausalLM.
  static let llama = ModelFamily(
    name: "llama",
    summary:
      "Grouped-query attention with rotary positions, gated feed-forward, RMS normalization before each.",
    modelTypes: ["llama"],
    architectures: ["LlamaForCausalLM", "LLaMAForCausalLM"]
  ) { (reader, weights) throws(ArchitectureError) in
    try Llama(&reader).importModel(weights)
  }
}

/// A validated Llama configuration.
private struct Llama {
  let configuration: ModelConfiguration
  let attention: AttentionSettings
  let activation: Activation
  let feedForwardBias: Bool
  let epsilon: Double
  let tied: Bool
  let rotary: RotaryEmbedding

  init(_ reader: inout ConfigurationReader) throws(ArchitectureError) {
    configuration = try ModelConfiguration(&reader)
    let bias = try reader.bool("attention_bias", default: false)
    let settings = try RotaryEmbedding.Settings(&reader)
    rotary = RotaryEmbedding(
      theta: settings.theta, dimension: configuration.headDimension, scaling: settings.scaling)
    attention = AttentionSettings(
      hiddenSize: configuration.hiddenSize, headCount: configuration.headCount,
      kvHeadCount: configuration.kvHeadCount, headDimension: configuration.headDimension,
      scale: 1 / Double(configuration.headDimension).squareRoot(), inputBias: bias, outputBias: bias,
      interleaved: try reader.bool("rope_interleaved", default: false), magnitude: rotary.magnitude)
    activation = try Activation(try reader.optionalString("hidden_act") ?? "silu", key: "hidden_act")
    feedForwardBias = try reader.bool("mlp_bias", default: false)
    epsilon = try reader.number("rms_norm_eps", in: 0...1, default: 1e-6)
    tied = try reader.bool("tie_word_embeddings", default: false)
    try ConfigurationKeys.checkCommon(&reader, family: "llama")
  }

  func importModel(_ weights: WeightCatalog) throws(ArchitectureError) -> ImportedModel {
    try weights.checkLayers(prefix: "model.layers.", count: configuration.layerCount)
    var model = try DecoderBuilder(name: "llama", weights: weights)
    var warnings: [String] = []
    let embedding = "model.embed_tokens.weight"
    let table = try model.weight(embedding, [configuration.vocabularySize, configuration.hiddenSize])
    let frequencies = try model.derivedConstant("rope.inverse_frequencies", rotary.inverseFrequencies)
    var hidden = try model.add(.embedding, [.value(model.tokens), table], name: "h0")
    for layer in 0..<configuration.layerCount {
      hidden = try model.withScope("layers.\(layer)") {
        (model: inout DecoderBuilder) throws(ArchitectureError) in
        try block(layer, hidden, frequencies, &model)
      }
    }
    let normalized = try model.rmsNorm(hidden, "model.norm", epsilon: epsilon, name: "n")
    let logits = try model.head(
      normalized, embedding: embedding, vocabularySize: configuration.vocabularySize, tied: tied,
      warnings: &warnings)
    let (graph, derived, unused) = try model.finish(outputs: [logits])
    return ImportedModel(
      family: "llama", graph: graph, derivedConstants: derived, configuration: configuration,
      warnings: warnings + unused)
  }

  private func block(
    _ layer: Int, _ hidden: ValueID, _ frequencies: Operand, _ model: inout DecoderBuilder
  ) throws(ArchitectureError) -> ValueID {
    let prefix = "model.layers.\(layer)"
    let attended = try model.withScope("attention") {
      (model: inout DecoderBuilder) throws(ArchitectureError) in
      let x = try model.rmsNorm(hidden, prefix + ".input_layernorm", epsilon: epsilon, name: "n\(layer)")
      return try model.attention(
        x, prefix + ".self_attn", settings: attention, frequencies: frequencies, layer: layer)
    }
    let middle = try model.add(.add, [.value(hidden), .value(attended)], name: "r\(layer)")
    let fed = try model.withScope("feed_forward") { (model: inout DecoderBuilder) throws(ArchitectureError) in
      let x = try model.rmsNorm(
        middle, prefix + ".post_attention_layernorm", epsilon: epsilon, name: "m\(layer)")
      return try model.gatedFeedForward(
        x, prefix + ".mlp", inner: configuration.intermediateSize, activation: activation,
        bias: feedForwardBias,
        layer: layer)
    }
    return try model.add(.add, [.value(middle), .value(fed)], name: "h\(layer + 1)")
  }
}
