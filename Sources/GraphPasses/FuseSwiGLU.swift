import GraphIR

/// Turns `multiply(silu(gate), up)` into `swiglu(gate, up)`.
public struct FuseSwiGLU: GraphPass {
  /// `fuse-swiglu`.
  public static let name = "fuse-swiglu"
  /// The sentence for documents.
  public static let summary = "Turns multiply(silu(gate), up) into swiglu(gate, up)."

  /// The pass.
  public init() {}

  /// Rewrites each product in place; the silu goes when nothing else uses it.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    try GatedProduct(activation: .silu, product: .swiglu).fuse(in: &graph, PassReport(pass: Self.name))
  }
}
