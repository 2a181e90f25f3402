import GraphIR
import OrderedCollections

/// Moves gains and shifts of norms into the projections that alone read them: gains into the columns of the weights,
/// shifts, through the weights, into biases. What is left is a norm with gains of one.
///
/// The runtime gains nothing by it; rotations of the residual stream need it.
/// Source: Ashkboos et al., SliceGPT, arXiv 2401.15024, section 3.
public struct FoldNormGains: GraphPass {
  /// `fold-norm-gains`.
  public static let name = "fold-norm-gains"
  /// The sentence for documents.
  public static let summary = "Moves gains and shifts of norms into the weights and biases that read them."
  /// Products are rounded elsewhere.
  public static let promise = PassPromise.close

  /// The pass.
  public init() {}

  /// Rewrites each norm of whole rows whose readers can take its gain.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var folder = ConstantFolder(graph, PassReport(pass: Self.name))
    let uses = graph.uses
    for (index, node) in graph.nodes.enumerated() {
      guard node.operation == .rmsNorm || node.operation == .layerNorm, let result = node.results.first,
        !isOne(node.operands[1])
      else { continue }
      let readers = uses.consumers(of: result)
      if let reason = refusal(node, readers, uses.isOutput(result), folder) {
        folder.report.missed(at: graph.name(of: result), reason)
        continue
      }
      try fold(index, node, readers, &folder)
      folder.report.fired(at: graph.name(of: result))
    }
    graph = folder.graph
    return folder.report
  }

  private func isOne(_ gain: Operand) -> Bool {
    gain.constants.allSatisfy { $0.hasPrefix(ConstantFolder.onesPrefix) }
  }

  private func refusal(
    _ node: Node, _ readers: [Int], _ isOutput: Bool, _ folder: ConstantFolder
  ) -> String? {
    guard node.attributes["heads"] == nil else { return "it is a norm of heads" }
    guard case .constant(let gain) = node.operands[1], folder.graph.constants[gain]?.dimensions.count == 1
    else { return "its gain is no single vector" }
    guard !isOutput, !readers.isEmpty else { return "it is an output of the graph" }
    if let reason = folder.refusal(node.constantOperands) { return reason }
    var weights: [String] = []
    for reader in readers.map({ folder.graph.nodes[$0] }) {
      let position = reader.operation == .linear ? 1 : 2
      guard reader.operation == .linear || reader.operation == .expertLinear,
        reader.valueOperands.count(where: { $0 == node.results[0] }) == 1,
        reader.operands[0].value == node.results[0]
      else { return "it is read by \(reader.operation), not by projections alone" }
      if node.operands.count > 2, reader.operation == .expertLinear {
        return "experts have no bias for its shift"
      }
      weights += reader.operands[position].constants
      guard node.operands.count > 2, reader.operands.count > 2, position == 1 else { continue }
      guard reader.operands[2].constants.count == reader.operands[1].constants.count else {
        return "a bias is not made of as many constants as the weight"
      }
      weights += reader.operands[2].constants
    }
    return folder.refusal(weights)
  }

  private func fold(
    _ index: Int, _ node: Node, _ readers: [Int], _ folder: inout ConstantFolder
  ) throws(GraphError) {
    guard let gain = node.operands[1].constants.first else { return }
    let offset = try node.float("offset")
    let factors: ConstantExpression = offset == 0 ? .constant(gain) : .plus(.constant(gain), offset)
    let shift = node.operands.count > 2 ? node.operands[2].constants.first : nil
    for number in readers {
      let reader = folder.graph.nodes[number]
      let position = reader.operation == .linear ? 1 : 2
      let weights = reader.operands[position].constants
      if let shift {
        let old = reader.operands.count > 2 ? reader.operands[2].constants : []
        var biases: [String] = []
        for (place, weight) in weights.enumerated() {
          let moved = ConstantExpression.product(.constant(weight), .constant(shift))
          let rows = folder.graph.constants[weight]?.dimensions.first ?? 0
          biases.append(
            old.isEmpty
              ? folder.declare(weight + ".shift", moved, [rows])
              : folder.replace(old[place], by: .sum(moved, .constant(old[place])), dimensions: [rows]))
        }
        folder.graph.nodes[number].operands =
          Array(reader.operands.prefix(2)) + [ConstantFolder.operand(biases)]
      }
      let scaled = weights.map { folder.replace($0, by: .columnsScaled(.constant($0), by: factors)) }
      folder.graph.nodes[number].operands[position] = ConstantFolder.operand(scaled)
    }
    let columns = folder.graph.constants[gain]?.dimensions.first ?? 0
    folder.graph.nodes[index].operands = [node.operands[0], folder.ones(columns)]
    folder.graph.nodes[index].attributes["offset"] = nil
    for name in node.constantOperands { folder.graph.constants[name] = nil }
  }
}
