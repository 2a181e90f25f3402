import GraphIR

/// Turns a sum and the layer normalization that follows it into one `add_layer_norm` with both results.
public struct FuseAddLayerNorm: GraphPass {
  /// `fuse-add-layer-norm`.
  public static let name = "fuse-add-layer-norm"
  /// The sentence for documents.
  public static let summary = "Turns a sum and its layer_norm into one node with both results."

  /// The pass.
  public init() {}

  /// Rewrites each sum whose first normalization is a plain one.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    try NormalizedSum(normalization: .layerNorm, fused: .addLayerNorm)
      .fuse(in: &graph, PassReport(pass: Self.name))
  }
}
