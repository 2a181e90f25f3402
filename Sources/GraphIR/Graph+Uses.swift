/// Who makes and who uses each value of a graph, as of when the table was made.
public struct UseTable: Sendable {
  private var producers: [ValueID: Int] = [:]
  private var users: [ValueID: [Int]] = [:]
  private let outputs: Set<ValueID>
  private let nodeCount: Int

  /// Reads the graph once.
  public init(_ graph: Graph) {
    outputs = Set(graph.outputs)
    nodeCount = graph.nodes.count
    for (index, node) in graph.nodes.enumerated() {
      for result in node.results { producers[result] = index }
      for operand in node.valueOperands where users[operand]?.last != index {
        users[operand, default: []].append(index)
      }
    }
  }

  /// Index of the node that makes the value; nil for graph inputs.
  public func producer(of value: ValueID) -> Int? { producers[value] }

  /// Indices of the nodes that use the value, ascending, each once.
  public func consumers(of value: ValueID) -> [Int] { users[value] ?? [] }

  /// Whether the graph gives the value back.
  public func isOutput(_ value: ValueID) -> Bool { outputs.contains(value) }

  /// Whether a node or an output uses the value.
  public func isUsed(_ value: ValueID) -> Bool { users[value] != nil || outputs.contains(value) }

  /// Index of the last node that uses the value, the number of nodes for an output, nil when nothing does.
  public func lastUse(of value: ValueID) -> Int? { outputs.contains(value) ? nodeCount : users[value]?.last }
}

extension Graph {
  /// Who makes and who uses each value, for many questions.
  public var uses: UseTable { UseTable(self) }

  /// Index of the node that makes the value; nil for graph inputs. Reads the whole graph: see ``uses``.
  public func producer(of value: ValueID) -> Int? {
    nodes.firstIndex { $0.results.contains(value) }
  }

  /// Indices of the nodes that use the value, ascending. Reads the whole graph: see ``uses``.
  public func consumers(of value: ValueID) -> [Int] {
    nodes.indices.filter { nodes[$0].operands.contains(.value(value)) }
  }

  /// Index of the last node that uses the value, the number of nodes for an output, nil when nothing does.
  public func lastUse(of value: ValueID) -> Int? {
    outputs.contains(value) ? nodes.count : consumers(of: value).last
  }

  /// For each node, the values that nothing needs after it: what a run can free there.
  public var valuesDyingAtNodes: [[ValueID]] {
    let table = uses
    var dying = [[ValueID]](repeating: [], count: nodes.count)
    for value in values {
      let last = table.lastUse(of: value) ?? table.producer(of: value)
      if let last, last < nodes.count { dying[last].append(value) }
    }
    return dying
  }
}
