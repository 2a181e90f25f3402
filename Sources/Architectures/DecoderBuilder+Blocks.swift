import GraphIR
import OrderedCollections

/// What a decoder block's attention is made of.
struct AttentionSettings {
  var hiddenSize: Int
  var headCount: Int
  var kvHeadCount: Int
  var headDimension: Int
  /// What dot products are multiplied by.
  var scale: Double
  /// Whether query, key and value projections have biases.
  var inputBias = false
  /// Whether the output projection has a bias.
  var outputBias = false
  /// Visible tokens, 0 for all.
  var window = 0
  /// Whether rotary pairs are neighbours.
  var interleaved = false
  /// What rotary cosines and sines are multiplied by.
  var magnitude = 1.0
}

/// The nonlinearity of a gated feed-forward.
enum Activation: Equatable {
  case silu
  case gelu(approximate: String)

  /// The activation that a configuration names.
  init(_ name: String, key: String) throws(ArchitectureError) {
    switch name {
    case "silu", "swish": self = .silu
    case "gelu": self = .gelu(approximate: "none")
    case "gelu_new", "gelu_pytorch_tanh", "gelu_fast": self = .gelu(approximate: "tanh")
    default: throw .unsupported(key: key, found: name, reason: "this activation is not computed")
    }
  }
}

extension DecoderBuilder {
  /// Attention with rotary positions over projections `prefix.{q,k,v,o}_proj`; `layer` numbers names and the cache.
  mutating func attention(
    _ x: ValueID, _ prefix: String, settings: AttentionSettings, frequencies: Operand, layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let (heads, kvHeads, width) = (settings.headCount, settings.kvHeadCount, settings.headDimension)
    let q = try linear(
      x, prefix + ".q_proj", outputs: heads * width, bias: settings.inputBias, name: "q\(layer)")
    let k = try linear(
      x, prefix + ".k_proj", outputs: kvHeads * width, bias: settings.inputBias, name: "k\(layer)")
    let v = try linear(
      x, prefix + ".v_proj", outputs: kvHeads * width, bias: settings.inputBias, name: "v\(layer)")
    let turnedQ = try rope(q, heads: heads, settings: settings, frequencies, name: "qr\(layer)")
    let turnedK = try rope(k, heads: kvHeads, settings: settings, frequencies, name: "kr\(layer)")
    let attended = try add(
      .attention, [.value(turnedQ), .value(turnedK), .value(v)],
      [
        "heads": .int(heads), "kv_heads": .int(kvHeads), "head_dim": .int(width),
        "scale": .float(settings.scale),
        "window": .int(settings.window), "cache": .int(layer),
      ], name: "a\(layer)")
    return try linear(
      attended, prefix + ".o_proj", outputs: settings.hiddenSize, bias: settings.outputBias, name: "o\(layer)"
    )
  }

  private mutating func rope(
    _ x: ValueID, heads: Int, settings: AttentionSettings, _ frequencies: Operand, name: String
  ) throws(ArchitectureError) -> ValueID {
    try add(
      .rope, [.value(x), .value(positions), frequencies],
      [
        "heads": .int(heads), "head_dim": .int(settings.headDimension),
        "interleaved": .bool(settings.interleaved), "magnitude": .float(settings.magnitude),
      ], name: name)
  }

  /// down(activation(gate(x)) * up(x)) over projections `prefix.{gate,up,down}_proj`.
  mutating func gatedFeedForward(
    _ x: ValueID, _ prefix: String, inner: Int, activation: Activation, bias: Bool, layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let gate = try linear(x, prefix + ".gate_proj", outputs: inner, bias: bias, name: "g\(layer)")
    let up = try linear(x, prefix + ".up_proj", outputs: inner, bias: bias, name: "u\(layer)")
    let activated: ValueID
    switch activation {
    case .silu: activated = try add(.silu, [.value(gate)], name: "s\(layer)")
    case .gelu(let approximate):
      activated = try add(.gelu, [.value(gate)], ["approximate": .string(approximate)], name: "s\(layer)")
    }
    let product = try add(.multiply, [.value(activated), .value(up)], name: "p\(layer)")
    return try linear(product, prefix + ".down_proj", outputs: columns(of: x), bias: bias, name: "d\(layer)")
  }

  /// The head: logits by the embedding when it is tied, else by a matrix of its own.
  ///
  /// The tensor decides: a head that is there is used, whatever the flag says, and a contradiction is reported.
  mutating func head(
    _ x: ValueID, embedding: String, vocabularySize: Int, tied: Bool, warnings: inout [String]
  ) throws(ArchitectureError) -> ValueID {
    let own = "lm_head.weight"
    let name = has(own) || !tied ? own : embedding
    if tied, name == own {
      warnings.append("tie_word_embeddings is true, but the checkpoint has \(own), which is used")
    }
    let weight = try weight(name, [vocabularySize, columns(of: x)])
    return try add(.linear, [.value(x), weight], name: "logits")
  }
}
