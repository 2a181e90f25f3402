import GraphIR
import OrderedCollections

/// A place in a graph where the columns that linear layers read can be divided by positive factors which what makes them
/// takes over, so that the graph computes the same: norms (gain and shift), the value projection before an attention's
/// output projection, and the ungated side of a gated product before the projection down.
///
/// Sites are found from the graph alone, whatever the family; gates and other curved functions are never crossed.
public struct FoldSite: Sendable, Equatable {
  /// What takes the factors over.
  public enum Producer: Sendable, Equatable {
    /// The gain of a norm, to which `offset` is added, and its shift.
    case normalization(gain: String, offset: Double, shift: String?)
    /// Rows of a projection, from number `firstRow` on, and its bias.
    case projection(weight: String, bias: String?, firstRow: Int)
  }

  /// The value whose columns are divided.
  public let input: ValueID
  /// Weights that read it; their columns are multiplied.
  public let consumers: [String]
  /// What its columns come from.
  public let producer: Producer
  /// For each column the number of its factor; columns that come from the same row share one.
  public let factorOfColumn: [Int]
  /// How many factors there are.
  public let factorCount: Int

  /// The sites of a graph, in the order of their consumers.
  public static func sites(in graph: Graph) -> [FoldSite] {
    let finder = FoldSiteFinder(graph: graph)
    var seen: Set<ValueID> = []
    return graph.linearNodes.compactMap { node in
      seen.insert(node.input).inserted ? finder.site(at: node.input) : nil
    }
  }
}

private struct FoldSiteFinder {
  let graph: Graph
  let uses: UseTable
  /// How many nodes name each constant.
  let constantUses: [String: Int]

  init(graph: Graph) {
    self.graph = graph
    uses = graph.uses
    var counts: [String: Int] = [:]
    for node in graph.nodes {
      for name in Set(node.constantOperands) { counts[name, default: 0] += 1 }
    }
    constantUses = counts
  }

  private func isExclusive(_ name: String) -> Bool { constantUses[name] == 1 }

  func site(at value: ValueID) -> FoldSite? {
    guard !uses.isOutput(value), let columns = graph.type(of: value).columns,
      let consumers = consumers(of: value), let made = uses.producer(of: value)
    else { return nil }
    let node = graph.nodes[made]
    switch node.operation {
    case .rmsNorm, .layerNorm: return normalization(node, value, columns, consumers)
    case .multiply: return product(node, made, value, columns, consumers)
    case .relu:
      // Positive factors pass through max(x, 0).
      guard let inner = node.operands.first?.value else { return nil }
      return projection(inner, usedBy: made, value, Array(0..<columns), columns, consumers)
    case .attention: return attention(node, made, value, consumers)
    default: return nil
    }
  }

  /// The weights that read a value; nil when something else than a projection does, or a weight has further uses.
  private func consumers(of value: ValueID) -> [String]? {
    var names: [String] = []
    for index in uses.consumers(of: value) {
      let node = graph.nodes[index]
      guard node.operation == .linear || node.operation == .expertLinear,
        node.operands.first?.value == value, node.valueOperands.count(where: { $0 == value }) == 1
      else { return nil }
      names += node.operands[node.operation == .linear ? 1 : 2].constants
    }
    return names.isEmpty || !names.allSatisfy(isExclusive) ? nil : names
  }

  private func normalization(
    _ node: Node, _ value: ValueID, _ columns: Int, _ consumers: [String]
  ) -> FoldSite? {
    guard (try? node.integer("heads")) == 1, node.operands.count > 1,
      case .constant(let gain) = node.operands[1], isExclusive(gain)
    else { return nil }
    var shift: String?
    if node.operands.count > 2 {
      guard case .constant(let name) = node.operands[2], isExclusive(name) else { return nil }
      shift = name
    }
    let offset = (try? node.float("offset")) ?? 0
    return FoldSite(
      input: value, consumers: consumers, producer: .normalization(gain: gain, offset: offset, shift: shift),
      factorOfColumn: Array(0..<columns), factorCount: columns)
  }

  /// The side of a product that a projection makes as it is; of two, the second.
  private func product(
    _ node: Node, _ made: Int, _ value: ValueID, _ columns: Int, _ consumers: [String]
  ) -> FoldSite? {
    guard node.operands.count == 2, node.operands[0] != node.operands[1] else { return nil }
    for operand in node.operands.reversed() {
      guard let side = operand.value else { continue }
      let site = projection(side, usedBy: made, value, Array(0..<columns), columns, consumers)
      if let site { return site }
    }
    return nil
  }

  /// Head `h` of the result is a mean of rows of the values of head `h / (heads / kv_heads)`.
  private func attention(_ node: Node, _ made: Int, _ value: ValueID, _ consumers: [String]) -> FoldSite? {
    guard let heads = try? node.integer("heads"), let keyHeads = try? node.integer("kv_heads"),
      let width = try? node.integer("head_dim"), node.operands.count > 2, let values = node.operands[2].value,
      node.valueOperands.count(where: { $0 == values }) == 1
    else { return nil }
    let columns = (0..<heads * width).map { $0 / width / (heads / keyHeads) * width + $0 % width }
    return projection(values, usedBy: made, value, columns, keyHeads * width, consumers)
  }

  /// The site whose factors the rows of a projection take over, when `source` is its result, or columns of it, and nothing
  /// else uses those.
  private func projection(
    _ source: ValueID, usedBy user: Int, _ value: ValueID, _ factorOfColumn: [Int], _ factorCount: Int,
    _ consumers: [String]
  ) -> FoldSite? {
    guard uses.consumers(of: source) == [user], !uses.isOutput(source),
      var made = uses.producer(of: source)
    else { return nil }
    var firstRow = 0
    if graph.nodes[made].operation == .slice {
      guard let start = try? graph.nodes[made].integer("start"),
        let whole = graph.nodes[made].operands.first?.value,
        isAlone(made, start..<start + factorCount, of: whole), let linear = uses.producer(of: whole)
      else { return nil }
      firstRow = start
      made = linear
    }
    let node = graph.nodes[made]
    guard node.operation == .linear, case .constant(let weight) = node.operands[1], isExclusive(weight),
      graph.constants[weight]?.dimensions.count == 2
    else { return nil }
    var bias: String?
    if node.operands.count > 2 {
      guard case .constant(let name) = node.operands[2], isExclusive(name) else { return nil }
      bias = name
    }
    return FoldSite(
      input: value, consumers: consumers,
      producer: .projection(weight: weight, bias: bias, firstRow: firstRow), factorOfColumn: factorOfColumn,
      factorCount: factorCount)
  }

  /// Whether all other users of a value take other columns of it.
  private func isAlone(_ slice: Int, _ range: Range<Int>, of whole: ValueID) -> Bool {
    guard !uses.isOutput(whole) else { return false }
    return uses.consumers(of: whole).allSatisfy { index in
      if index == slice { return true }
      let node = graph.nodes[index]
      guard node.operation == .slice, let start = try? node.integer("start"),
        let length = try? node.integer("length")
      else { return false }
      return !(start..<start + length).overlaps(range)
    }
  }
}
