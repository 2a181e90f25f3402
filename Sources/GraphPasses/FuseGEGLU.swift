import GraphIR

/// Turns `multiply(gelu(gate), up)` into `geglu(gate, up)`.
public struct FuseGEGLU: GraphPass {
  /// `fuse-geglu`.
  public static let name = "fuse-geglu"
  /// The sentence for documents.
  public static let summary = "Turns multiply(gelu(gate), up) into geglu(gate, up), whatever the gelu."

  /// The pass.
  public init() {}

  /// Rewrites each product in place; the gelu goes when nothing else uses it.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    try GatedProduct(activation: .gelu, product: .geglu).fuse(in: &graph, PassReport(pass: Self.name))
  }
}
