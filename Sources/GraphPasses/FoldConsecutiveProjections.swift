import GraphIR
import OrderedCollections

/// Multiplies the weights of two projections, the second of which alone reads the first, when the product is not larger than
/// both.
public struct FoldConsecutiveProjections: GraphPass {
  /// `fold-consecutive-projections`.
  public static let name = "fold-consecutive-projections"
  /// The sentence for documents.
  public static let summary = "Multiplies the weights of a projection and of the one that alone reads it."
  /// Sums are rounded elsewhere.
  public static let promise = PassPromise.close

  /// The pass.
  public init() {}

  /// Rewrites the second projection in place; the first one goes.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    try ConstantFolder.foldEach(
      in: &graph, PassReport(pass: Self.name),
      plan: { (index, uses, folder) throws(GraphError) in plan(index, uses, folder) },
      fold: { (index, first, folder) throws(GraphError) in fold(first, index, &folder) })
  }

  /// The projection that makes what the one at `index` reads.
  private func plan(
    _ index: Int, _ uses: UseTable, _ folder: ConstantFolder
  ) -> ConstantFolder.Candidate<Int>? {
    let nodes = folder.graph.nodes
    guard nodes[index].operation == .linear, let value = nodes[index].operands[0].value,
      let first = uses.producer(of: value), nodes[first].operation == .linear
    else { return nil }
    return refusal(first, index, value, uses, folder).map { .refused($0) } ?? .fold(first)
  }

  private func refusal(
    _ first: Int, _ second: Int, _ value: ValueID, _ uses: UseTable, _ folder: ConstantFolder
  ) -> String? {
    let (inner, outer) = (folder.graph.nodes[first], folder.graph.nodes[second])
    guard uses.consumers(of: value) == [second], !uses.isOutput(value) else {
      return "something else uses the projection between"
    }
    let constants = inner.operands.dropFirst() + outer.operands.dropFirst()
    guard constants.allSatisfy({ $0.constants.count == 1 }) else {
      return "a weight is made of several constants"
    }
    let names = inner.constantOperands + outer.constantOperands
    if let reason = folder.refusal(names) { return reason }
    let (a, b) = (shape(inner, folder), shape(outer, folder))
    guard b[0] * a[1] <= a[0] * a[1] + b[0] * b[1] else {
      return "the product of the weights would be larger than both"
    }
    return nil
  }

  private func shape(_ node: Node, _ folder: ConstantFolder) -> [Int] {
    node.operands[1].constants.first.flatMap { folder.graph.constants[$0]?.dimensions } ?? [0, 0]
  }

  private func fold(_ first: Int, _ second: Int, _ folder: inout ConstantFolder) {
    let (inner, outer) = (folder.graph.nodes[first], folder.graph.nodes[second])
    guard let a = inner.operands[1].constants.first, let b = outer.operands[1].constants.first else { return }
    let (rows, columns) = (shape(outer, folder)[0], shape(inner, folder)[1])
    var bias: ConstantExpression?
    if inner.operands.count > 2, let name = inner.operands[2].constants.first {
      bias = .product(.constant(b), .constant(name))
    }
    if outer.operands.count > 2, let name = outer.operands[2].constants.first {
      bias = bias.map { .sum($0, .constant(name)) } ?? .constant(name)
    }
    var operands = [inner.operands[0]]
    operands.append(
      .constant(folder.replace(b, by: .product(.constant(b), .constant(a)), dimensions: [rows, columns])))
    if let bias { operands.append(.constant(folder.declare(b + ".bias", bias, [rows]))) }
    for name in inner.constantOperands + outer.operands.dropFirst(2).flatMap(\.constants) {
      folder.graph.constants[name] = nil
    }
    folder.graph.nodes[second].operands = operands
    folder.report.fired(at: folder.graph.name(of: outer.results[0]))
    folder.graph.removeNodes(at: [first])
  }
}
