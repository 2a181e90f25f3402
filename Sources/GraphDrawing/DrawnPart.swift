import GraphIR

/// The part of a graph that is drawn: the nodes around the blocks and those of one block, with the other blocks as one item each
/// way.
struct DrawnPart {
  /// Something that gets a box.
  enum Item: Equatable {
    case input(ValueID)
    case node(Int)
    /// Nodes that are not drawn one by one.
    case elided(Range<Int>, label: String)
    case output(ValueID)
  }

  /// A value on its way from one item to another.
  struct Edge: Equatable {
    let source: Int
    let target: Int
    let value: ValueID
  }

  private(set) var items: [Item] = []
  private(set) var edges: [Edge] = []
  /// The block, nil when the graph has none.
  let block: GraphBlock?

  /// - Parameter number: which block; nil draws the first one.
  /// - Throws: `GraphError` when there is no such block.
  init(_ graph: Graph, block number: Int?) throws(GraphError) {
    let blocks = graph.blocks
    let index = number ?? 0
    guard blocks.indices.contains(index) || (blocks.isEmpty && number == nil) else {
      throw .graph("there is no block \(index); the graph has \(blocks.count)")
    }
    block = blocks.isEmpty ? nil : blocks[index]
    let nodes = Self.items(of: graph, blocks, index)
    let given = graph.inputs.filter { value in
      nodes.contains { item in
        if case .node(let index) = item {
          Self.drawsEdge(to: graph.nodes[index], from: value, graph)
        } else {
          false
        }
      }
    }
    items = given.map { .input($0) } + nodes + graph.outputs.map { .output($0) }
    connect(graph)
  }

  private static func items(of graph: Graph, _ blocks: [GraphBlock], _ index: Int) -> [Item] {
    guard let first = blocks.first, let last = blocks.last else {
      return graph.nodes.indices.map { .node($0) }
    }
    var items: [Item] = (0..<first.nodes.lowerBound).map { .node($0) }
    let block = blocks[index]
    func elide(_ range: Range<Int>, _ part: ArraySlice<GraphBlock>) {
      guard let from = part.first, let to = part.last, !range.isEmpty else { return }
      items.append(.elided(range, label: part.count == 1 ? from.scope : "\(from.scope) … \(to.scope)"))
    }
    elide(first.nodes.lowerBound..<block.nodes.lowerBound, blocks[..<index])
    items += block.nodes.map { .node($0) }
    elide(block.nodes.upperBound..<last.nodes.upperBound, blocks[(index + 1)...])
    return items + (last.nodes.upperBound..<graph.nodes.count).map { .node($0) }
  }

  /// Positions go into many operations and are named in their boxes; other inputs, and positions that choose rows of a table,
  /// get edges.
  private static func drawsEdge(to node: Node, from value: ValueID, _ graph: Graph) -> Bool {
    guard node.valueOperands.contains(value) else { return false }
    return graph.type(of: value).element != .i32 || node.operation == .embedding
  }

  private mutating func connect(_ graph: Graph) {
    var makers: [ValueID: Int] = [:]
    for (number, item) in items.enumerated() {
      switch item {
      case .input(let value): makers[value] = number
      case .node(let index): for value in graph.nodes[index].results { makers[value] = number }
      case .elided(let range, _):
        for node in graph.nodes[range] { for value in node.results { makers[value] = number } }
      case .output: break
      }
    }
    for (number, item) in items.enumerated() {
      let used: [ValueID] =
        switch item {
        case .input: []
        case .node(let index): graph.nodes[index].valueOperands
        case .elided(let range, _): graph.nodes[range].flatMap(\.valueOperands)
        case .output(let value): [value]
        }
      for value in used {
        guard let maker = makers[value], maker != number else { continue }
        if case .elided = item, graph.inputs.contains(value) { continue }
        let edge = Edge(source: maker, target: number, value: value)
        if !edges.contains(edge) { edges.append(edge) }
      }
    }
  }
}
