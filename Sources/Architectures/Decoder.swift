import SafeIO

/// What a decoder-only model is made of. A family starts from the defaults, which are those of Llama, and states what is
/// different about it; building the graph is the same for all.
struct Decoder {
  /// Name of the family.
  let family: String
  var sizes: ModelConfiguration
  var names = TensorNames()

  /// Every normalization of the residual stream.
  var normalization = Normalization.rootMeanSquare(epsilon: 1e-6, offset: 0)
  var residual = Residual.sequential
  var embeddingScale = 1.0
  /// Columns of the embedding when it is narrower than the stream, with projections into it and out of it; nil for none.
  var embeddingWidth: Int?
  /// What attention and feed-forward are multiplied with before they are added to the stream.
  var residualScale = 1.0
  var logitScale = 1.0
  /// 0 for none.
  var logitSoftcap = 0.0
  /// Whether the embedding is the head too.
  var isTied = false
  var headHasBias = false
  /// Whether projections of blocks are stored `[in, out]`.
  var storesTransposed = false
  /// Rows of the table of learned positions that are skipped.
  var positionOffset = 0
  /// Rows of that table.
  var positionCount: Int?
  /// Numbered layers behind the blocks that a checkpoint may hold and logits do not need, such as those that predict further
  /// tokens.
  var spareLayers = 0

  var attention: AttentionSettings
  /// Visible tokens of each layer, 0 for all.
  var windows: [Int]
  /// Rotary positions of each layer; nil where a layer has none.
  var rotary: [RotaryEmbedding?]

  var activation = Activation.silu
  /// Whether the projections of feed-forwards have biases.
  var feedForwardBias = false
  /// The feed-forward of each layer.
  var feedForwards: [FeedForward]

  /// A normalization; `offset` is added to its gains.
  enum Normalization: Equatable {
    case rootMeanSquare(epsilon: Double, offset: Double)
    case layer(epsilon: Double, hasBias: Bool, offset: Double = 0)
    /// Without a gain.
    case plainLayer(epsilon: Double)
  }

  /// Where sums with the residual stream stand.
  enum Residual: Equatable {
    /// h + attention(norm(h)), then the same with the feed-forward.
    case sequential
    /// h + attention(norm(h)) + feed-forward(norm'(h)); one norm for both when there is no second one.
    case parallel
    /// norm(h + attention(h)), then the same with the feed-forward.
    case normalizedSums
  }

  /// What follows the attention.
  enum FeedForward: Equatable {
    /// down(activation(gate(x)) * up(x)).
    case gated(inner: Int)
    /// down(activation(up(x))).
    case plain(inner: Int)
    /// A weighted sum of gated ones that a router chooses.
    case experts(Experts)
  }
}

/// What a decoder block's attention is made of.
struct AttentionSettings: Equatable {
  /// What dot products are multiplied by.
  var scale: Double
  /// What it is divided by besides, by layer; empty for nothing.
  var layerDivisors: [Double] = []
  /// 0 for none.
  var softcap = 0.0
  var queryBias = false
  var keyBias = false
  var valueBias = false
  var outputBias = false
  /// Limit of the magnitude of queries, keys and values, after normalization where there is one.
  var clip: Double?
  /// Normalization of queries and keys before rotation.
  var queryKeyNorm: QueryKeyNorm?
  /// Whether rotary pairs are neighbours.
  var isInterleaved = false
  /// Slopes of linear biases by distance, one a head; empty for none.
  var slopes: [Float] = []
  /// Whether each head has a logit of its own that takes a share of the softmax.
  var hasSinks = false
  /// Queries, keys and values by way of narrow projections, instead of one projection each.
  var latent: LatentAttention?

  /// What dot products of a layer are multiplied by.
  func scale(layer: Int) -> Double {
    layerDivisors.isEmpty ? scale : scale / layerDivisors[layer]
  }

  /// Whether all three input projections have biases.
  var inputBias: Bool {
    get { queryBias && keyBias && valueBias }
    set { (queryBias, keyBias, valueBias) = (newValue, newValue, newValue) }
  }

  /// What a normalization of queries or keys sees at a time.
  struct QueryKeyNorm: Equatable {
    var normalization: Decoder.Normalization
    /// Each head by itself, or all heads together.
    var isByHead: Bool
    var gains = Gains.shared

    /// Where gains of heads lie.
    enum Gains: Equatable {
      /// One `[width]` for all heads.
      case shared
      /// `[heads, width]`.
      case rowPerHead
      /// A tensor `[width]` for each head: `prefix.norms.0.weight`, ...
      case tensorPerHead
    }
  }
}

/// A feed-forward of experts.
struct Experts: Equatable {
  var count: Int
  /// Experts of a token.
  var chosen: Int
  var inner: Int
  /// Whether the weights of the chosen experts add up to one.
  var isNormalized = true
  var scores = "softmax"
  var factor = 1.0
  var groups = 1
  var keptGroups = 1
  var groupTop = 1
  /// Name of the router; in the block.
  var router = "mlp.gate"
  /// Name of what is added to the scores for choosing; in the block.
  var correction: String?
  /// `prefix.0.gate`, ... in the block.
  var prefix = "mlp.experts"
  var gate = "gate_proj"
  var up = "up_proj"
  var down = "down_proj"
  var routerHasBias = false
  /// Whether projections of experts have biases.
  var hasBias = false
  /// Limit of gates from above, and of what they are multiplied with on both sides before one is added to it; the activation
  /// is then x / (1 + exp(-1.702 x)). Nil for none of this.
  var limit: Double?
  var shared: Shared?

  /// An expert that every token goes to.
  struct Shared: Equatable {
    var inner: Int
    /// Prefix of its projections; in the block.
    var prefix = "mlp.shared_expert"
    var hasBias = false
    /// Name of the projection whose sigmoid it is multiplied with; in the block.
    var gate: String?
  }
}

extension Decoder {
  /// A decoder of the family with the sizes that most configurations give, full attention without positions, and gated
  /// feed-forwards.
  init(_ family: String, sizes: ModelConfiguration) {
    self.family = family
    self.sizes = sizes
    attention = AttentionSettings(scale: 1 / Double(sizes.headDimension).squareRoot())
    windows = [Int](repeating: 0, count: sizes.layerCount)
    rotary = [RotaryEmbedding?](repeating: nil, count: sizes.layerCount)
    feedForwards = [FeedForward](
      repeating: .gated(inner: sizes.intermediateSize), count: sizes.layerCount)
  }

  /// The same feed-forward in every layer.
  mutating func setFeedForwards(_ feedForward: FeedForward) {
    feedForwards = [FeedForward](repeating: feedForward, count: sizes.layerCount)
  }

  /// The same rotary positions in every layer.
  mutating func setRotary(_ rotary: RotaryEmbedding) {
    self.rotary = [RotaryEmbedding?](repeating: rotary, count: sizes.layerCount)
  }

  /// Reads a decoder of the Llama kind: sizes, activation, RMS norms, rotary positions, biases and the tied head, all under
  /// the keys that such families share.
  static func llamaLike(
    _ family: String, _ reader: inout ConfigurationReader, epsilon: Double = 1e-6, isTied: Bool = false,
    rotary: RotarySettings.Defaults = .init(), keys: SizeKeys = .init()
  ) throws(ArchitectureError) -> Decoder {
    var decoder = Decoder(family, sizes: try ModelConfiguration(&reader, keys: keys))
    try decoder.readActivation(&reader, ["hidden_act", "hidden_activation"], default: "silu")
    decoder.normalization = .rootMeanSquare(
      epsilon: try reader.number("rms_norm_eps", in: 0...1, default: epsilon), offset: 0)
    decoder.isTied = try reader.bool("tie_word_embeddings", default: isTied)
    try decoder.readRotary(&reader, rotary)
    return decoder
  }

  /// Reads the activation.
  mutating func readActivation(
    _ reader: inout ConfigurationReader, _ keys: [String], default fallback: String
  ) throws(ArchitectureError) {
    let key = reader.key(among: keys)
    activation = try Activation(try reader.optionalString(key) ?? fallback, key: reader.path(key))
  }

  /// Reads rotary positions that are the same in every layer.
  mutating func readRotary(
    _ reader: inout ConfigurationReader, _ defaults: RotarySettings.Defaults = .init()
  ) throws(ArchitectureError) {
    let settings = try RotarySettings(&reader, sizes: sizes, defaults)
    setRotary(try settings.embedding(headDimension: sizes.headDimension, reader))
  }

  /// Reads biases of the attention's projections, all four under one key.
  mutating func readAttentionBias(
    _ reader: inout ConfigurationReader, key: String = "attention_bias", default fallback: Bool = false
  ) throws(ArchitectureError) {
    let hasBias = try reader.bool(key, default: fallback)
    attention.inputBias = hasBias
    attention.outputBias = hasBias
  }
}
