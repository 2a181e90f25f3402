/// Who makes and who uses each value of a graph, as of when the table was made.
public struct UseTable: Sendable {
  /// By slot: the node that makes the value, -1 for none.
  private var producers: [Int]
  /// By slot: the nodes that use the value.
  private var users: [[Int]]
  private var isReturned: [Bool]
  private let nodeCount: Int

  /// Reads the graph once.
  public init(_ graph: Graph) {
    let count = graph.slots.count
    producers = [Int](repeating: -1, count: count)
    users = [[Int]](repeating: [], count: count)
    isReturned = [Bool](repeating: false, count: count)
    nodeCount = graph.nodes.count
    for output in graph.outputs where output.raw < count { isReturned[output.raw] = true }
    for index in graph.nodes.indices {
      for result in graph.nodes[index].results where result.raw < count { producers[result.raw] = index }
      for case .value(let operand) in graph.nodes[index].operands
      where operand.raw < count && users[operand.raw].last != index {
        users[operand.raw].append(index)
      }
    }
  }

  /// Index of the node that makes the value; nil for graph inputs.
  public func producer(of value: ValueID) -> Int? {
    guard value.raw < producers.count, producers[value.raw] >= 0 else { return nil }
    return producers[value.raw]
  }

  /// Indices of the nodes that use the value, ascending, each once.
  public func consumers(of value: ValueID) -> [Int] { value.raw < users.count ? users[value.raw] : [] }

  /// Whether the graph gives the value back.
  public func isOutput(_ value: ValueID) -> Bool { value.raw < isReturned.count && isReturned[value.raw] }

  /// Whether a node or an output uses the value.
  public func isUsed(_ value: ValueID) -> Bool { !consumers(of: value).isEmpty || isOutput(value) }

  /// Index of the last node that uses the value, the number of nodes for an output, nil when nothing does.
  public func lastUse(of value: ValueID) -> Int? {
    isOutput(value) ? nodeCount : consumers(of: value).last
  }
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
