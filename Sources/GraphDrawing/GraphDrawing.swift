import GraphIR

/// A picture of one block of a graph with the embedding before it and the head behind it: where every box, frame and edge lies, in
/// pixels from the top left.
///
/// Data flows downwards. The residual stream runs in lanes left of the boxes, from where it is read to where branches are added to it.
/// The same graph gives the same picture.
public struct GraphDrawing: Sendable {
  /// An operation, an input, an output or blocks that are left out.
  public struct Box: Sendable, Equatable {
    /// Names of the values that it makes; of the value itself for inputs and outputs.
    public let values: [String]
    /// Left edge.
    public var x: Int
    /// Top edge.
    public var y: Int
    /// Width.
    public let width: Int
    /// Height.
    public let height: Int
    let text: BoxText
  }

  /// A value on its way; straight lines between points, their corners rounded.
  public struct Edge: Sendable, Equatable {
    /// Number of the box that makes the value.
    public let source: Int
    /// Number of the box that uses it.
    public let target: Int
    /// Name of the value.
    public let value: String
    /// Whether it is the residual stream passing by a branch.
    public let isResidual: Bool
    /// Where it goes.
    public internal(set) var points: [Point]
  }

  /// A place in the picture.
  public struct Point: Sendable, Equatable {
    /// Pixels from the left.
    public var x: Int
    /// Pixels from the top.
    public var y: Int
  }

  /// What stands in one scope.
  struct Frame: Equatable {
    let label: String
    let x: Int
    let y: Int
    let width: Int
    let height: Int
  }

  /// Boxes in the order of the graph.
  public private(set) var boxes: [Box] = []
  /// Edges in the order of their targets.
  public private(set) var edges: [Edge] = []
  /// Width of the picture.
  public private(set) var width = 0
  /// Height of the picture.
  public private(set) var height = 0
  let title: String
  private(set) var subtitle = ""
  private(set) var frames: [Frame] = []

  static let margin = 28
  static let header = 64
  static let laneWidth = 16

  /// Draws a block.
  /// - Parameters:
  ///   - graph: any graph; one without blocks is drawn whole.
  ///   - block: which block; nil draws the first one.
  ///   - title: what stands above the picture; the graph's name when nil.
  /// - Throws: `GraphError` when there is no such block.
  public init(_ graph: Graph, block: Int? = nil, title: String? = nil) throws(GraphError) {
    let part = try DrawnPart(graph, block: block)
    self.title = title ?? graph.name
    let count = graph.blocks.count
    subtitle =
      part.block.map { "\($0.scope) of \(count) blocks, \($0.nodes.count) of \(graph.nodes.count) nodes" }
      ?? "\(graph.nodes.count) nodes"
    let texts = part.items.map { BoxText($0, in: graph) }
    let sizes = texts.map { BoxMetrics.size(of: $0) }
    let scopes = Self.scopes(part, graph)
    let names = Self.ordered(scopes)
    let residual = Self.residualEdges(part, graph)
    let plain = part.edges.indices.filter { !residual.contains($0) }
    let pairs = { (numbers: [Int]) in
      numbers.map { (source: part.edges[$0].source, target: part.edges[$0].target) }
    }
    let layout = LayeredLayout(
      sizes: sizes.map { (Double($0.width), Double($0.height)) },
      groups: scopes.map { scope in names.firstIndex(of: scope).map { $0 + 1 } ?? 0 }, edges: pairs(plain),
      ranking: pairs(Array(residual.sorted())))
    place(part, graph, texts, sizes, layout)
    for number in part.edges.indices {
      let edge = part.edges[number]
      edges.append(
        Edge(
          source: edge.source, target: edge.target, value: graph.name(of: edge.value),
          isResidual: residual.contains(number), points: []))
    }
    for (number, route) in zip(plain, layout.routes) { edges[number].points = points(of: route, layout) }
    frame(scopes, names)
    routeResiduals(layout)
    moveToOrigin()
  }

  /// The scope below the block of each item, such as `attention`; empty for none.
  private static func scopes(_ part: DrawnPart, _ graph: Graph) -> [String] {
    part.items.map { item in
      guard case .node(let index) = item, let block = part.block, block.nodes.contains(index) else {
        return ""
      }
      let scope = graph.nodes[index].scope
      return scope.hasPrefix(block.scope + ".") ? String(scope.dropFirst(block.scope.count + 1)) : ""
    }
  }

  private static func ordered(_ scopes: [String]) -> [String] {
    var names: [String] = []
    for scope in scopes where !scope.isEmpty && !names.contains(scope) { names.append(scope) }
    return names
  }

  /// Numbers of the edges that carry the stream past a branch: into a sum, while another edge of the same value, or of its norm
  /// where one node makes both, goes the long way.
  private static func residualEdges(_ part: DrawnPart, _ graph: Graph) -> Set<Int> {
    let sums: Set<Operation> = [.add, .addRMSNorm, .addLayerNorm]
    var result: Set<Int> = []
    for (number, edge) in part.edges.enumerated() {
      guard case .node(let index) = part.items[edge.target], sums.contains(graph.nodes[index].operation)
      else {
        continue
      }
      let others = part.edges.filter {
        ($0.value == edge.value || ($0.source == edge.source && isSumBesideItsNorm(edge, part, graph)))
          && $0.target < edge.target
      }
      let isDetour = others.contains { other in
        reaches(part, from: other.target, to: edge.target)
      }
      let isElided = if case .elided = part.items[edge.source] { true } else { false }
      if isDetour || (isElided && edge.target - edge.source > 2) { result.insert(number) }
    }
    return result
  }

  private static func isSumBesideItsNorm(_ edge: DrawnPart.Edge, _ part: DrawnPart, _ graph: Graph) -> Bool {
    guard case .node(let index) = part.items[edge.source] else { return false }
    let node = graph.nodes[index]
    return [.addRMSNorm, .addLayerNorm].contains(node.operation) && node.results.first == edge.value
  }

  private static func reaches(_ part: DrawnPart, from start: Int, to end: Int) -> Bool {
    var seen: Set<Int> = [start]
    var open = [start]
    while let next = open.popLast() {
      if next == end { return true }
      for edge in part.edges where edge.source == next && edge.target <= end && !seen.contains(edge.target) {
        seen.insert(edge.target)
        open.append(edge.target)
      }
    }
    return false
  }

  private mutating func place(
    _ part: DrawnPart, _ graph: Graph, _ texts: [BoxText], _ sizes: [(width: Int, height: Int)],
    _ layout: LayeredLayout
  ) {
    for (number, item) in part.items.enumerated() {
      let place = layout.places[number]
      let values: [ValueID] =
        switch item {
        case .input(let value), .output(let value): [value]
        case .node(let index): graph.nodes[index].results
        case .elided: []
        }
      boxes.append(
        Box(
          values: values.map { graph.name(of: $0) }, x: Int((place.x - place.width / 2).rounded()),
          y: Int((place.y - place.height / 2).rounded()), width: sizes[number].width,
          height: sizes[number].height, text: texts[number]))
    }
  }

  /// From the bottom of a box to the top of another; through the whole height of the rows between.
  private func points(of route: [Int], _ layout: LayeredLayout) -> [Point] {
    var points: [Point] = []
    for (index, number) in route.enumerated() {
      let place = layout.places[number]
      let x = Int(place.x.rounded())
      let row = layout.rows[place.row]
      if index > 0 {
        points.append(Point(x: x, y: Int(row.top.rounded())))
        if !place.isBend { points.append(Point(x: x, y: boxes[number].y)) }
      }
      if index < route.count - 1 {
        if !place.isBend { points.append(Point(x: x, y: boxes[number].y + boxes[number].height)) }
        points.append(Point(x: x, y: Int(row.bottom.rounded())))
      }
    }
    return points.enumerated().filter { $0.offset == 0 || $0.element != points[$0.offset - 1] }.map(\.element)
  }

  /// Frames around scopes; none where another box would be inside.
  private mutating func frame(_ scopes: [String], _ names: [String]) {
    for name in names {
      let members = boxes.indices.filter { scopes[$0] == name }
      let left = (members.map { boxes[$0].x }.min() ?? 0) - 14
      let right = (members.map { boxes[$0].x + boxes[$0].width }.max() ?? 0) + 14
      let top = (members.map { boxes[$0].y }.min() ?? 0) - 14
      let bottom = (members.map { boxes[$0].y + boxes[$0].height }.max() ?? 0) + 22
      let others = boxes.indices.filter { scopes[$0] != name }.map { boxes[$0] }
      let isFree = others.allSatisfy {
        $0.x >= right || $0.x + $0.width <= left || $0.y >= bottom || $0.y + $0.height <= top
      }
      guard isFree else { continue }
      frames.append(Frame(label: name, x: left, y: top, width: right - left, height: bottom - top))
    }
  }

  /// Lanes left of everything between the two ends of each edge; edges whose ends lie between those of another get the inner ones.
  private mutating func routeResiduals(_ layout: LayeredLayout) {
    let numbers = edges.indices.filter { edges[$0].isResidual }
    func rows(_ number: Int) -> ClosedRange<Int> {
      layout.places[edges[number].source].row...layout.places[edges[number].target].row
    }
    var lanes: [(rows: ClosedRange<Int>, lane: Int)] = []
    let inner = frames.map(\.x).min() ?? boxes.map(\.x).min() ?? 0
    let bends = edges.flatMap { $0.points.map(\.x) }.min() ?? inner
    let left = min(inner, bends, boxes.map(\.x).min() ?? 0) - 14
    for number in numbers.sorted(by: { (rows($0).count, $0) < (rows($1).count, $1) }) {
      let own = rows(number)
      let taken = lanes.filter {
        $0.rows.lowerBound < own.upperBound && own.lowerBound < $0.rows.upperBound
      }.map(\.lane)
      let lane = (0...taken.count).first { !taken.contains($0) } ?? 0
      lanes.append((own, lane))
      let (source, target) = (boxes[edges[number].source], boxes[edges[number].target])
      let x = left - lane * Self.laneWidth
      // Leaves below the middle and arrives above it, so that one box can be both ends.
      let (from, to) = (source.y + source.height * 2 / 3, target.y + target.height / 3)
      edges[number].points = [
        Point(x: source.x, y: from), Point(x: x, y: from), Point(x: x, y: to), Point(x: target.x, y: to),
      ]
    }
  }

  private mutating func moveToOrigin() {
    let lines = edges.flatMap { $0.points.map(\.x) }
    let left = (boxes.map(\.x) + frames.map(\.x) + lines).min() ?? 0
    let right = (boxes.map { $0.x + $0.width } + frames.map { $0.x + $0.width } + lines).max() ?? 0
    let top = (boxes.map(\.y) + frames.map(\.y)).min() ?? 0
    let content = max(right - left, Legend.width(of: self))
    width = content + 2 * Self.margin
    let dx = Self.margin + (content - (right - left)) / 2 - left
    let dy = Self.header + Self.margin - top
    for index in boxes.indices {
      (boxes[index].x, boxes[index].y) = (boxes[index].x + dx, boxes[index].y + dy)
    }
    for index in edges.indices {
      edges[index].points = edges[index].points.map { Point(x: $0.x + dx, y: $0.y + dy) }
    }
    frames = frames.map {
      Frame(label: $0.label, x: $0.x + dx, y: $0.y + dy, width: $0.width, height: $0.height)
    }
    let bottom = (boxes.map { $0.y + $0.height } + frames.map { $0.y + $0.height }).max() ?? 0
    height = bottom + Self.margin + Legend.height
  }
}

/// Sizes of text in boxes, from the widths that common fonts have.
enum BoxMetrics {
  static let titleHeight = 22
  static let lineHeight = 15
  static let padding = 12

  static func size(of text: BoxText) -> (width: Int, height: Int) {
    let title = Double(text.title.count) * 8 + 8
    let lines = (text.details + [text.shape]).map { Double($0.count) * 6.7 }.max() ?? 0
    let count = text.details.count + (text.shape.isEmpty ? 0 : 1)
    return (Int(max(title, lines).rounded(.up)) + 2 * padding + 6, titleHeight + count * lineHeight + 10)
  }
}
