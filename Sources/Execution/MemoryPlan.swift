import GraphIR

/// Where every value of a graph lies while it runs: one arena shared by liveness, caller's inputs, and outputs.
///
/// Sizes are in floats per token; a run multiplies them with its number of tokens. Slices are views; elementwise
/// operations overwrite an operand that dies with them.
struct MemoryPlan {
  /// What a location is an offset into.
  enum Space: Equatable {
    /// The arena; `offset` floats per token from its start.
    case arena(offset: Int)
    /// An input of the graph, by its number.
    case input(Int)
    /// An output of the graph, by its number.
    case output(Int)
  }

  /// A value's place: a buffer and the columns of it that the value is.
  struct Location: Equatable {
    var space: Space
    /// Columns of the buffer: elements between rows.
    var stride: Int
    /// First column in the buffer.
    var column: Int
    /// Columns of the value.
    var columns: Int
  }

  /// Location of each float value.
  let locations: [ValueID: Location]
  /// Floats per token of the whole arena.
  let arenaColumns: Int

  init(_ graph: Graph) throws(ExecutionError) {
    if let passed = graph.outputs.first(where: { graph.inputs.contains($0) }) {
      throw .unsupported(
        operation: "an output", scope: graph.name(of: passed),
        reason: "it is an input of the graph, which no step writes")
    }
    var builder = Builder(graph: graph)
    for (index, node) in graph.nodes.enumerated() { try builder.place(node, at: index) }
    (locations, arenaColumns) = builder.finish()
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
    let uses: UseTable
    var buffers: [Buffer] = []
    var views: [ValueID: View] = [:]

    init(graph: Graph) {
      self.graph = graph
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
          let start = (try? node.integer("start")) ?? 0
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
        .rope, .add, .multiply, .scale, .silu, .gelu, .softcap, .swiglu, .addRMSNorm,
      ]
      guard position == 0, overwriting.contains(node.operation) else { return nil }
      let candidates = node.operation == .rope ? Array(node.valueOperands.prefix(1)) : node.valueOperands
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
      var placed: [(range: Range<Int>, buffer: Int)] = []
      var total = 0
      for index in buffers.indices where buffers[index].space == nil {
        let width = (buffers[index].columns + 15) & ~15
        let living = placed.filter { other in
          buffers[other.buffer].death >= buffers[index].birth
            && buffers[other.buffer].birth <= buffers[index].death
        }.sorted { $0.range.lowerBound < $1.range.lowerBound }
        var offset = 0
        for other in living where other.range.lowerBound < offset + width {
          offset = max(offset, other.range.upperBound)
        }
        buffers[index].space = .arena(offset: offset)
        placed.append((offset..<offset + width, index))
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
