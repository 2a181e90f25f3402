/// The nonlinearity of a feed-forward.
enum Activation: Equatable {
  case silu, relu, squaredReLU
  /// `approximate` is `none`, `tanh` or `sigmoid`, as in the operation `gelu`.
  case gelu(approximate: String)

  /// The activation that a configuration names.
  /// - Throws: ``ArchitectureError/unsupported(key:found:reason:)``.
  init(_ name: String, key: String) throws(ArchitectureError) {
    switch name {
    case "silu", "swish": self = .silu
    case "relu": self = .relu
    case "relu2": self = .squaredReLU
    case "gelu", "gelu_python": self = .gelu(approximate: "none")
    case "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate": self = .gelu(approximate: "tanh")
    case "quick_gelu": self = .gelu(approximate: "sigmoid")
    default: throw .unsupported(key: key, found: name, reason: "this activation is not computed")
    }
  }
}
