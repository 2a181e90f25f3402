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
    var report = PassReport(pass: Self.name)
    while true {
      var folder = ConstantFolder(graph, report)
      guard try foldOne(&folder) else { break }
      graph = folder.graph
      report = folder.report
    }
    // What is left, and why.
    var folder = ConstantFolder(graph, report)
    let uses = graph.uses
    for (index, node) in graph.nodes.enumerated() where node.operation == .scale {
      if case .refused(let reason) = try plan(index, uses, folder) {
        folder.report.missed(at: graph.name(of: node.results[0]), reason)
      }
    }
    return folder.report
  }

  private enum Plan {
    case attention([Int])
    case producer(Int)
    case readers([Int])
    case refused(String)
  }

  /// Folds the first scale that can be; false when none can.
  private func foldOne(_ folder: inout ConstantFolder) throws(GraphError) -> Bool {
    let uses = folder.graph.uses
    for (index, node) in folder.graph.nodes.enumerated() where node.operation == .scale {
      let plan = try plan(index, uses, folder)
      let factor = Double(Float(try node.float("factor")))
      switch plan {
      case .refused: continue
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
      guard let operand = node.operands[0].value else { continue }
      folder.report.fired(at: folder.graph.name(of: node.results[0]))
      folder.graph.replaceUses(of: node.results[0], with: operand)
      folder.graph.removeNodes(at: [index])
      return true
    }
    return false
  }

  private func plan(_ index: Int, _ uses: UseTable, _ folder: ConstantFolder) throws(GraphError) -> Plan {
    let graph = folder.graph
    let node = graph.nodes[index]
    guard let value = node.operands[0].value, let result = node.results.first else {
      return .refused("no value")
    }
    guard !uses.isOutput(result) else { return .refused("it is an output of the graph") }
    let factor = try node.float("factor")
    let readers = uses.consumers(of: result)
    let attends = readers.allSatisfy { reader in
      let attention = graph.nodes[reader]
      return attention.operation == .attention && attention.valueOperands.count(where: { $0 == result }) == 1
        && attention.operands.prefix(2).contains(.value(result))
    }
    if attends, !readers.isEmpty { return .attention(readers) }
    guard factor.isFinite, factor != 0 else { return .refused("its factor is 0") }
    let before = refusalOfProducer(value, index, uses, folder)
    guard let reason = before else { return .producer(uses.producer(of: value) ?? 0) }
    let takes = readers.allSatisfy { reader in
      let linear = graph.nodes[reader]
      return linear.operation == .linear && linear.operands[0].value == result
    }
    guard takes, !readers.isEmpty else { return .refused(reason + "; and not only projections read it") }
    let weights = readers.flatMap { graph.nodes[$0].operands[1].constants }
    if let refusal = folder.refusal(weights) { return .refused(reason + "; and " + refusal) }
    return .readers(readers)
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
