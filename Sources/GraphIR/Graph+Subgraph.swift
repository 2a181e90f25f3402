extension Graph {
  /// The part of the graph that makes `outputs` from `inputs`, as a graph of its own; names and scopes are kept.
  ///
  /// The new graph's inputs are `inputs` in the given order, then those of this graph's own inputs that the part still
  /// needs (such as positions), in their order. Nodes that only `inputs` depend on are left out.
  /// - Throws: ``GraphError/graph(_:)`` when a value is not of this graph or an input is listed twice.
  public func subgraph(inputs: [ValueID], outputs: [ValueID]) throws(GraphError) -> Graph {
    for value in inputs + outputs where !contains(value) { throw .graph("a value is not of this graph") }
    guard Set(inputs).count == inputs.count else { throw .graph("an input is listed twice") }
    guard !outputs.isEmpty else { throw .graph("a subgraph needs an output") }

    let given = Set(inputs)
    var needed = Set(outputs).subtracting(given)
    var kept: [Node] = []
    for node in nodes.reversed() where node.results.contains(where: needed.contains) {
      if let both = node.results.first(where: given.contains) {
        throw .graph("'\(name(of: both))' is given, but the node that makes it is needed too")
      }
      kept.append(node)
      for operand in node.valueOperands where !given.contains(operand) { needed.insert(operand) }
    }
    var part = Graph(name: name)
    part.slots = [Value?](repeating: nil, count: slots.count)
    part.inputs = inputs + self.inputs.filter { needed.contains($0) && !given.contains($0) }
    part.outputs = outputs
    part.nodes = kept.reversed()
    for value in part.inputs + part.nodes.flatMap(\.results) {
      part.slots[value.raw] = slots[value.raw]
      part.identifiers[name(of: value)] = value
    }
    part.constants = constants
    part.removeUnusedConstants()
    return part
  }
}
