extension Graph: Equatable {
  /// Whether two graphs are the same but for the numbers of their values: what the textual form shows is equal.
  public static func == (a: Graph, b: Graph) -> Bool {
    guard a.name == b.name, a.constants == b.constants, a.nodes.count == b.nodes.count,
      a.inputs.count == b.inputs.count, a.outputs.count == b.outputs.count
    else { return false }
    func same(_ x: ValueID, _ y: ValueID) -> Bool {
      guard a.contains(x), b.contains(y) else { return false }
      return a.slots[x.raw] == b.slots[y.raw]
    }
    func same(_ x: [ValueID], _ y: [ValueID]) -> Bool { x.count == y.count && zip(x, y).allSatisfy(same) }
    guard same(a.inputs, b.inputs), same(a.outputs, b.outputs) else { return false }
    return zip(a.nodes, b.nodes).allSatisfy { x, y in
      x.operation == y.operation && x.scope == y.scope && x.attributes == y.attributes
        && same(x.results, y.results) && x.operands.count == y.operands.count
        && zip(x.operands, y.operands).allSatisfy { p, q in
          if let p = p.value, let q = q.value { return same(p, q) }
          return p.value == nil && q.value == nil && p == q
        }
    }
  }

  /// Whether the graph is as a copy of it was: quick when nothing was written to since.
  public func isUnchanged(since copy: Graph) -> Bool {
    func isShared<Element>(_ a: [Element], _ b: [Element]) -> Bool {
      unsafe a.withUnsafeBufferPointer { a in
        unsafe b.withUnsafeBufferPointer { b in unsafe a.baseAddress == b.baseAddress && a.count == b.count }
      }
    }
    if isShared(nodes, copy.nodes), isShared(slots, copy.slots) {
      return outputs == copy.outputs && inputs == copy.inputs && name == copy.name
        && constants == copy.constants
    }
    return self == copy
  }
}
