/// The name of what a node computes; ``OperationDefinition`` says what it means.
public struct Operation: Hashable, Sendable, RawRepresentable, CustomStringConvertible {
  /// The name in the textual form.
  public let rawValue: String

  /// An operation by its name, whether or not there is one.
  public init(rawValue: String) { self.rawValue = rawValue }

  /// The name in the textual form.
  public var description: String { rawValue }

  /// Rows of a matrix, chosen by tokens.
  public static let embedding = Operation(rawValue: "embedding")
  /// Root-mean-square normalization with a gain.
  public static let rmsNorm = Operation(rawValue: "rms_norm")
  /// Product with a weight matrix, and a bias.
  public static let linear = Operation(rawValue: "linear")
  /// Rotary position embedding.
  public static let rope = Operation(rawValue: "rope")
  /// Softmax attention over the cache and the tokens of the run.
  public static let attention = Operation(rawValue: "attention")
  /// Heads made of two parts.
  public static let joinHeads = Operation(rawValue: "join_heads")
  /// Elementwise sum.
  public static let add = Operation(rawValue: "add")
  /// Elementwise product.
  public static let multiply = Operation(rawValue: "multiply")
  /// Product with one number.
  public static let scale = Operation(rawValue: "scale")
  /// x / (1 + exp(-x)).
  public static let silu = Operation(rawValue: "silu")
  /// Gaussian error linear unit.
  public static let gelu = Operation(rawValue: "gelu")
  /// cap * tanh(x / cap).
  public static let softcap = Operation(rawValue: "softcap")
  /// Product of blocks of columns with a Hadamard matrix.
  public static let hadamard = Operation(rawValue: "hadamard")
  /// A range of columns.
  public static let slice = Operation(rawValue: "slice")
  /// silu(gate) * up.
  public static let swiglu = Operation(rawValue: "swiglu")
  /// Normalization to mean zero and variance one, with a gain and a shift.
  public static let layerNorm = Operation(rawValue: "layer_norm")
  /// max(x, 0).
  public static let relu = Operation(rawValue: "relu")
  /// 1 / (1 + exp(-x)).
  public static let sigmoid = Operation(rawValue: "sigmoid")
  /// Limited to a range.
  public static let clamp = Operation(rawValue: "clamp")
  /// Product of each row with a number of its own.
  public static let scaleRows = Operation(rawValue: "scale_rows")
  /// Weights of the experts that each token goes to.
  public static let route = Operation(rawValue: "route")
  /// Products with the weight matrices of the chosen experts.
  public static let expertLinear = Operation(rawValue: "expert_linear")
  /// Sums with the biases of the chosen experts.
  public static let expertBias = Operation(rawValue: "expert_bias")
  /// Weighted sum over the chosen experts.
  public static let expertSum = Operation(rawValue: "expert_sum")
  /// gelu(gate) * up.
  public static let geglu = Operation(rawValue: "geglu")
  /// A sum and its normalization.
  public static let addRMSNorm = Operation(rawValue: "add_rms_norm")
  /// A sum and its normalization to mean zero and variance one.
  public static let addLayerNorm = Operation(rawValue: "add_layer_norm")
  /// Product with a weight matrix, and a bias, through an activation.
  public static let linearActivation = Operation(rawValue: "linear_activation")
  /// A gate that is limited, through a Gaussian error linear unit, times one more than a limited factor.
  public static let limitedGLU = Operation(rawValue: "limited_glu")
  /// Gate and factor by one projection, and their product.
  public static let linearGated = Operation(rawValue: "linear_gated")
  /// Gate and factor by the chosen experts, and their product.
  public static let expertGated = Operation(rawValue: "expert_gated")
  /// Attention that turns its queries and keys itself.
  public static let rotaryAttention = Operation(rawValue: "rotary_attention")
}
