import GraphIR

/// Turns a sum and the normalization that follows it into one `add_rms_norm` with both results.
///
/// The node stands where the sum stood, in its scope. Of several normalizations of one sum the first is taken.
public struct FuseAddRMSNorm: GraphPass {
  /// `fuse-add-rms-norm`.
  public static let name = "fuse-add-rms-norm"
  /// The sentence for documents.
  public static let summary = "Turns a sum and its rms_norm into one node with both results."

  /// The pass.
  public init() {}

  /// Rewrites each sum whose first normalization is a plain one.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    try NormalizedSum(normalization: .rmsNorm, fused: .addRMSNorm).fuse(
      in: &graph, PassReport(pass: Self.name))
  }
}
