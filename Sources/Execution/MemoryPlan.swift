import GraphIR

/// Where every value of a graph lies while it runs: one arena shared by liveness, caller's inputs, and outputs.
///
/// Sizes are in floats per token; a run multiplies them with its number of tokens. Slices are views; elementwise
/// operations overwrite an operand that dies with them.
package struct MemoryPlan {
  /// What a location is an offset into.
  package enum Space: Equatable {
    /// The arena; `offset` floats per token from its start.
    case arena(offset: Int)
    /// An input of the graph, by its number.
    case input(Int)
    /// An output of the graph, by its number.
    case output(Int)
  }

  /// A value's place: a buffer and the columns of it that the value is.
  package struct Location: Equatable {
    package var space: Space
    /// Columns of the buffer: elements between rows.
    package var stride: Int
    /// First column in the buffer.
    package var column: Int
    /// Columns of the value.
    package var columns: Int
  }

  /// Location of each float value.
  package let locations: [ValueID: Location]
  /// Floats per token of the whole arena.
  package let arenaColumns: Int
  /// Outputs that no node writes, because they are inputs or returned twice: where each lies and where it must go.
  package let copies: [(source: Location, target: Location)]

  /// Most floats per token of an arena: far above any model, and small enough that no size overflows.
  package static let maximumArenaColumns = 1 << 22

  package init(_ graph: Graph, layout: LayoutOptions = .all) throws(ExecutionError) {
    var builder = Builder(graph: graph, layout: layout)
    for (index, node) in graph.nodes.enumerated() { try builder.place(node, at: index) }
    let (locations, arenaColumns) = builder.finish()
    guard arenaColumns <= MemoryPlan.maximumArenaColumns else {
      throw .unsupported(
        operation: graph.name, scope: "",
        reason: "its values need \(arenaColumns) floats for each token at a time")
    }
    self.locations = locations
    self.arenaColumns = arenaColumns
    copies = try MemoryPlan.copies(graph, locations)
  }

  private static func copies(
    _ graph: Graph, _ locations: [ValueID: Location]
  ) throws(ExecutionError) -> [(source: Location, target: Location)] {
    var result: [(source: Location, target: Location)] = []
    for (number, output) in graph.outputs.enumerated() {
      guard let source = locations[output] else {
        throw .unsupported(operation: graph.name, scope: "", reason: "output \(number) is not a float matrix")
      }
      guard source.space != .output(number) else { continue }
      let target = Location(
        space: .output(number), stride: source.columns, column: 0, columns: source.columns)
      result.append((source, target))
    }
    return result
  }
}

extension MemoryPlan {
  private struct Buffer {
    var space: Space?
    let columns: Int
    let birth: Int
    var death: Int
    var members: [ValueID] = []
  }

  private struct View {
    let buffer: Int
    let column: Int
    let columns: Int

    func overlaps(_ other: View) -> Bool {
      buffer == other.buffer && column < other.column + other.columns && other.column < column + columns
    }
  }

  private struct Builder {
    let graph: Graph
    let layout: LayoutOptions
    let uses: UseTable
    var buffers: [Buffer] = []
    var views: [ValueID: View] = [:]

    init(graph: Graph, layout: LayoutOptions) {
      self.graph = graph
      self.layout = layout
      uses = graph.uses
      for (number, input) in graph.inputs.enumerated() {
        guard let columns = graph.type(of: input).columns, graph.type(of: input).element == .f32 else {
          continue
        }
        add(input, columns: columns, space: .input(number), at: 0)
      }
    }

    private mutating func add(_ value: ValueID, columns: Int, space: Space?, at index: Int) {
      views[value] = View(buffer: buffers.count, column: 0, columns: columns)
      buffers.append(
        Buffer(
          space: space, columns: columns, birth: index, death: uses.lastUse(of: value) ?? index,
          members: [value]))
    }

    private mutating func alias(_ value: ValueID, _ view: View) {
      views[value] = view
      buffers[view.buffer].members.append(value)
      buffers[view.buffer].death = max(buffers[view.buffer].death, uses.lastUse(of: value) ?? 0)
    }

    mutating func place(_ node: Node, at index: Int) throws(ExecutionError) {
      for (position, result) in node.results.enumerated() {
        guard let columns = graph.type(of: result).columns else {
          throw .unsupported(
            operation: node.operation.rawValue, scope: node.scope, reason: "a result without columns")
        }
        if let output = graph.outputs.firstIndex(of: result) {
          add(result, columns: columns, space: .output(output), at: index)
        } else if node.operation == .slice, let source = node.operands[0].value, let view = views[source] {
          guard let start = try? node.integer("start") else {
            throw .unsupported(operation: "slice", scope: node.scope, reason: "it has no start")
          }
          alias(result, View(buffer: view.buffer, column: view.column + start, columns: columns))
        } else if let view = reusable(node, position, at: index) {
          alias(result, view)
        } else {
          add(result, columns: columns, space: nil, at: index)
        }
      }
    }

    /// A view of an operand that result number `position` may overwrite.
    private func reusable(_ node: Node, _ position: Int, at index: Int) -> View? {
      let overwriting: Set<Operation> = [
        .rope, .add, .multiply, .scale, .silu, .gelu, .relu, .sigmoid, .clamp, .softcap, .swiglu, .geglu,
        .hadamard,
        .addRMSNorm, .addLayerNorm, .scaleRows, .expertBias, .limitedGLU,
      ]
      // Operands besides the first one are of another shape, or are read after the result was begun.
      let onlyFirst: Set<Operation> = [.rope, .scaleRows, .geglu, .expertBias]
      guard layout.contains(.inPlace), position == 0, overwriting.contains(node.operation) else { return nil }
      var candidates = node.valueOperands
      if onlyFirst.contains(node.operation) {
        // A first operand that is a later one, too, is still read when the result was begun.
        candidates = candidates.dropFirst().contains(candidates[0]) ? [] : [candidates[0]]
      }
      return candidates.lazy.compactMap { value -> View? in
        guard uses.lastUse(of: value) == index, let view = views[value] else { return nil }
        switch buffers[view.buffer].space {
        case .input, .output: return nil
        case nil, .arena: break
        }
        let isShared = buffers[view.buffer].members.contains { other in
          guard other != value, let otherView = views[other], otherView.overlaps(view) else { return false }
          // A value whose last use lies before this node is gone; one used here by the same node must not be clobbered.
          return (uses.lastUse(of: other) ?? -1) >= index
        }
        return isShared ? nil : view
      }.first
    }

    /// Gives every arena buffer the lowest offset that no buffer alive at the same time holds.
    mutating func finish() -> ([ValueID: Location], Int) {
      var living: [(range: Range<Int>, death: Int)] = []
      var total = 0
      for index in buffers.indices where buffers[index].space == nil {
        let width = (buffers[index].columns + 15) & ~15
        // Buffers stand in the order of their births: what is dead now is dead for all that follow.
        if layout.contains(.sharedArena) { living.removeAll { $0.death < buffers[index].birth } }
        var offset = 0
        for other in living where other.range.lowerBound < offset + width {
          offset = max(offset, other.range.upperBound)
        }
        buffers[index].space = .arena(offset: offset)
        let place = living.firstIndex { $0.range.lowerBound > offset } ?? living.count
        living.insert((offset..<offset + width, buffers[index].death), at: place)
        total = max(total, offset + width)
      }
      var locations: [ValueID: Location] = [:]
      for (value, view) in views {
        let buffer = buffers[view.buffer]
        locations[value] = Location(
          space: buffer.space ?? .arena(offset: 0), stride: buffer.columns, column: view.column,
          columns: view.columns)
      }
      return (locations, total)
    }
  }
}
