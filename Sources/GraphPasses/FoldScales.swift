import GraphIR
import OrderedCollections

/// Moves products with one number to where they cost nothing: into the scale of attention, into the weights of the
/// projection, table or norm before, or into the weights of the projections behind.
public struct FoldScales: GraphPass {
  /// `fold-scales`.
  public static let name = "fold-scales"
  /// The sentence for documents.
  public static let summary = "Moves scales into attention, or into the weights before or behind them."
  /// Products are rounded elsewhere.
  public static let promise = PassPromise.close

  /// The pass.
  public init() {}

  /// Removes each scale that something can take over; scales of scales in their order.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    try ConstantFolder.foldEach(
      in: &graph, PassReport(pass: Self.name),
      plan: { (index, uses, folder) throws(GraphError) in try plan(index, uses, folder) },
      fold: { (index, taker, folder) throws(GraphError) in try fold(index, into: taker, &folder) })
  }

  /// What takes a scale over, by the indices of nodes.
  private enum Taker {
    case attention([Int])
    case producer(Int)
    case readers([Int])
  }

  private func fold(_ index: Int, into taker: Taker, _ folder: inout ConstantFolder) throws(GraphError) {
    let node = folder.graph.nodes[index]
    guard let operand = node.operands[0].value else { return }
    let factor = Double(Float(try node.float("factor")))
    switch taker {
    case .attention(let readers):
      for reader in readers {
        let scale = try folder.graph.nodes[reader].float("scale")
        folder.graph.nodes[reader].attributes["scale"] = .float(scale * factor)
      }
    case .producer(let producer): try scale(producer, by: factor, &folder)
    case .readers(let readers):
      for reader in readers {
        let names = folder.graph.nodes[reader].operands[1].constants
        let scaled = names.map { folder.replace($0, by: .scaled(.constant($0), factor)) }
        folder.graph.nodes[reader].operands[1] = ConstantFolder.operand(scaled)
      }
    }
    folder.report.fired(at: folder.graph.name(of: node.results[0]))
    folder.graph.replaceUses(of: node.results[0], with: operand)
    folder.graph.removeNodes(at: [index])
  }

  private func plan(
    _ index: Int, _ uses: UseTable, _ folder: ConstantFolder
  ) throws(GraphError) -> ConstantFolder.Candidate<Taker>? {
    let graph = folder.graph
    let node = graph.nodes[index]
    guard node.operation == .scale else { return nil }
    guard let value = node.operands[0].value, let result = node.results.first else {
      return .refused("no value")
    }
    guard !uses.isOutput(result) else { return .refused("it is an output of the graph") }
    let factor = try node.float("factor")
    let readers = uses.consumers(of: result)
    let attends = readers.allSatisfy { reader in
      let attention = graph.nodes[reader]
      return [.attention, .rotaryAttention].contains(attention.operation)
        && attention.valueOperands.count(where: { $0 == result }) == 1
        && attention.operands.prefix(2).contains(.value(result))
    }
    if attends, !readers.isEmpty { return .fold(.attention(readers)) }
    guard factor.isFinite, factor != 0 else { return .refused("its factor is 0") }
    let before = refusalOfProducer(value, index, uses, folder)
    guard let reason = before else { return .fold(.producer(uses.producer(of: value) ?? 0)) }
    let takes = readers.allSatisfy { reader in
      let linear = graph.nodes[reader]
      return linear.operation == .linear && linear.operands[0].value == result
    }
    guard takes, !readers.isEmpty else { return .refused(reason + "; and not only projections read it") }
    let weights = readers.flatMap { graph.nodes[$0].operands[1].constants }
    if let refusal = folder.refusal(weights) { return .refused(reason + "; and " + refusal) }
    return .fold(.readers(readers))
  }

  /// Why what makes the operand cannot take the factor; nil when it can.
  private func refusalOfProducer(
    _ value: ValueID, _ index: Int, _ uses: UseTable, _ folder: ConstantFolder
  ) -> String? {
    guard let producer = uses.producer(of: value) else { return "its operand is an input" }
    let node = folder.graph.nodes[producer]
    let takers: Set<Operation> = [.linear, .embedding, .rmsNorm, .layerNorm]
    guard takers.contains(node.operation) else {
      return "its operand is made by \(node.operation), without weights"
    }
    guard uses.consumers(of: value) == [index], !uses.isOutput(value) else {
      return "something else uses what it scales"
    }
    return folder.refusal(node.constantOperands)
  }

  private func scale(_ index: Int, by factor: Double, _ folder: inout ConstantFolder) throws(GraphError) {
    let node = folder.graph.nodes[index]
    let isNorm = node.operation == .rmsNorm || node.operation == .layerNorm
    let offset = isNorm ? try node.float("offset") : 0
    for position in node.operands.indices where node.operands[position].value == nil {
      let names = node.operands[position].constants.map { name -> String in
        // The offset belongs to gains, not to the shifts behind them.
        let isShifted = offset != 0 && position == 1
        let whole: ConstantExpression = isShifted ? .plus(.constant(name), offset) : .constant(name)
        return folder.replace(name, by: .scaled(whole, factor))
      }
      folder.graph.nodes[index].operands[position] = ConstantFolder.operand(names)
    }
    // An embedding's offset is one of rows, and stays.
    if isNorm { folder.graph.nodes[index].attributes["offset"] = nil }
  }
}
