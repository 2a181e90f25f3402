import GraphIR
import OrderedCollections

/// Turns the rotations of queries and keys that lie beside each other in one projection into one rotation of both, whose
/// parts attention then takes.
///
/// Heads are rotated one by one, so that results are bit for bit the same. The joined rotation stands where the later
/// one stood.
public struct FuseRotations: GraphPass {
  /// `fuse-rotations`.
  public static let name = "fuse-rotations"
  /// The sentence for documents.
  public static let summary =
    "Joins the rotations of neighbouring heads (queries and keys) into one before attention."

  /// The pass.
  public init() {}

  /// Columns of a value that a rotation turns.
  private struct Part {
    let index: Int
    let source: ValueID
    let columns: Range<Int>
    let node: Node
  }

  /// What two rotations must have in common.
  private struct Key: Hashable {
    let source: ValueID
    let scope: String
    let others: [Operand]
    let attributes: OrderedDictionary<String, Attribute>
  }

  /// Finds pairs, then rebuilds the list of nodes once.
  public func run(_ graph: inout Graph) throws(GraphError) -> PassReport {
    var report = PassReport(pass: Self.name)
    let (pairs, unpaired) = pairs(in: graph)
    for (index, reason) in unpaired.sorted(by: { $0.key < $1.key }) {
      report.missed(at: graph.name(of: graph.nodes[index].results[0]), reason)
    }
    if !pairs.isEmpty { try rebuild(&graph, pairs, &report) }
    return report
  }

  /// Pairs by the index of the later rotation, and why others have no mate.
  private func pairs(in graph: Graph) -> ([Int: (first: Part, second: Part)], [Int: String]) {
    let uses = graph.uses
    var open: [Key: [Part]] = [:]
    var unpaired: [Int: String] = [:]
    var pairs: [Int: (first: Part, second: Part)] = [:]
    for index in graph.nodes.indices where graph.nodes[index].operation == .rope {
      guard let part = part(at: index, graph, uses) else {
        unpaired[index] = "its operand is no slice of a projection"
        continue
      }
      var attributes = part.node.attributes
      attributes["heads"] = nil
      let key = Key(
        source: part.source, scope: part.node.scope, others: Array(part.node.operands.dropFirst()),
        attributes: attributes)
      let mate = open[key]?.lastIndex { $0.columns.upperBound == part.columns.lowerBound }
      guard let mate, let first = open[key]?[mate] else {
        open[key, default: []].append(part)
        unpaired[index] = "no rotation alike turns the columns before it"
        continue
      }
      guard isUsedAfter(index, first, graph, uses) else {
        unpaired[index] = "\(graph.name(of: first.node.results[0])) is used before it"
        continue
      }
      open[key]?.remove(at: mate)
      unpaired[first.index] = nil
      pairs[index] = (first, part)
    }
    return (pairs, unpaired)
  }

  /// The columns of a value that a rotation turns, when these are a slice.
  private func part(at index: Int, _ graph: Graph, _ uses: UseTable) -> Part? {
    let node = graph.nodes[index]
    guard let value = node.operands[0].value, let made = uses.producer(of: value) else { return nil }
    let slice = graph.nodes[made]
    guard slice.operation == .slice, let source = slice.operands[0].value,
      let start = try? slice.integer("start"), let length = try? slice.integer("length"),
      let producer = uses.producer(of: source), graph.nodes[producer].operation == .linear
    else { return nil }
    return Part(index: index, source: source, columns: start..<start + length, node: node)
  }

  /// Whether nothing needs the first result before the second is made.
  private func isUsedAfter(_ index: Int, _ first: Part, _ graph: Graph, _ uses: UseTable) -> Bool {
    first.node.results.allSatisfy { result in uses.consumers(of: result).allSatisfy { $0 > index } }
  }

  private func rebuild(
    _ graph: inout Graph, _ pairs: [Int: (first: Part, second: Part)], _ report: inout PassReport
  ) throws(GraphError) {
    let firsts = Set(pairs.values.map(\.first.index))
    let old = graph.nodes
    graph.nodes = []
    for (index, node) in old.enumerated() {
      if let pair = pairs[index] {
        try join(pair.first, pair.second, in: &graph)
        report.fired(
          at: [pair.first, pair.second].map { graph.name(of: $0.node.results[0]) }.joined(separator: ", "))
      } else if !firsts.contains(index) {
        graph.nodes.append(node)
      }
    }
  }

  /// Appends a slice of both parts, its rotation, and slices that make the old results.
  private func join(_ first: Part, _ second: Part, in graph: inout Graph) throws(GraphError) {
    let scope = first.node.scope
    let names = [first, second].map { graph.name(of: $0.node.results[0]) }.joined(separator: "_")
    let (start, length) = (first.columns.lowerBound, first.columns.count + second.columns.count)
    var both = first.source
    if graph.type(of: first.source).columns != length {
      both = try graph.insert(
        .slice, [.value(first.source)], attributes: ["start": .int(start), "length": .int(length)],
        names: [names + "_in"], scope: scope)[0]
    }
    var attributes = first.node.attributes
    attributes["heads"] = .int(try first.node.integer("heads") + second.node.integer("heads"))
    let turned = try graph.insert(
      .rope, [.value(both)] + first.node.operands.dropFirst(), attributes: attributes, names: [names],
      scope: scope)[0]
    var column = 0
    for part in [first, second] {
      try graph.insert(
        .slice, [.value(turned)], attributes: ["start": .int(column), "length": .int(part.columns.count)],
        making: part.node.results, scope: scope)
      column += part.columns.count
    }
  }
}
