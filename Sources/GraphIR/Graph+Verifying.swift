import OrderedCollections

extension Graph {
  /// Checks every rule of the language: names, types, order, operations, attributes, scopes, declarations.
  ///
  /// Linear in the size of the graph. A graph that passes can be printed, and its text read back as the same graph.
  /// - Throws: ``GraphError``, naming the first offender.
  public func verify() throws(GraphError) {
    try verifyDeclarations()
    // By slot: whether the value is made.
    var made = [Bool](repeating: false, count: slots.count)
    for input in inputs {
      guard contains(input) else { throw .graph("an input is no value of this graph") }
      guard !made[input.raw] else { throw .graph("an input is listed twice") }
      made[input.raw] = true
    }
    var scopes: Set<String> = [""]
    for node in nodes {
      guard scopes.contains(node.scope) || TextForm.isScope(node.scope) else {
        throw .node(node.operation.rawValue, scope: "", reason: "'\(node.scope)' is not a scope")
      }
      scopes.insert(node.scope)
      try verify(node, made: made)
      for result in node.results {
        guard !made[result.raw] else {
          throw .node(name(of: result), scope: node.scope, reason: "is made twice")
        }
        made[result.raw] = true
      }
    }
    guard !outputs.isEmpty else { throw .graph("the graph returns nothing") }
    for output in outputs {
      guard contains(output) else { throw .graph("an output is no value of this graph") }
      guard made[output.raw] else { throw .graph("nothing makes the output '\(name(of: output))'") }
    }
    for (slot, value) in slots.enumerated() where !made[slot] {
      if let value { throw .graph("nothing makes the value '\(value.name)'") }
    }
  }

  private func verifyDeclarations() throws(GraphError) {
    try verifyName(name, what: "graph")
    for (slot, value) in slots.enumerated() {
      guard let value else { continue }
      let (name, type) = (value.name, value.type)
      try verifyName(name, what: "value")
      // Of two values with one name the table has one at most.
      guard identifiers[name] == ValueID(slot) else { throw .graph("two values are called '\(name)'") }
      guard type.dimensions.count <= TextForm.maximumRank else {
        throw .graph("'\(name)' has too high a rank")
      }
      for dimension in type.dimensions {
        switch dimension {
        case .fixed(let extent):
          guard (0...TextForm.maximumExtent).contains(extent) else {
            throw .graph("'\(name)' has an extent of \(extent)")
          }
        case .symbol(let symbol):
          guard TextForm.isIdentifier(symbol) else { throw .graph("'\(symbol)' is not a dimension") }
        }
      }
    }
    for (name, type) in constants {
      try verifyName(name, what: "constant")
      try verifyName(type.encoding, what: "encoding")
      guard type.dimensions.count <= TextForm.maximumRank,
        type.dimensions.allSatisfy({ (0...TextForm.maximumExtent).contains($0) })
      else { throw .graph("constant '\(name)' has the impossible shape \(type.dimensions)") }
    }
  }

  private func verifyName(_ name: String, what: String) throws(GraphError) {
    guard !name.isEmpty, name.utf8.count <= TextForm.maximumNameBytes else {
      throw .graph("a \(what) name is empty or longer than \(TextForm.maximumNameBytes) bytes")
    }
  }

  private func verify(_ node: Node, made: [Bool]) throws(GraphError) {
    let first = node.results.first
    let label = first.flatMap { contains($0) ? name(of: $0) : nil } ?? node.operation.rawValue
    guard let definition = OperationDefinition.named(node.operation) else {
      throw .node(label, scope: node.scope, reason: "there is no operation '\(node.operation)'")
    }
    for case .value(let operand) in node.operands where !contains(operand) || !made[operand.raw] {
      let name = contains(operand) ? name(of: operand) : "?"
      throw .node(label, scope: node.scope, reason: "uses '\(name)' before it is made")
    }
    if !definition.isCanonical(node.attributes) {
      // What is wrong, when it is more than the form.
      _ = try definition.canonicalAttributes(node.attributes, label: label, scope: node.scope)
      throw .node(
        label, scope: node.scope, reason: "attributes are not in canonical form (order, defaults left out)")
    }
    let types = try definition.resultTypes(of: node, in: self, label: label)
    for result in node.results where !contains(result) {
      throw .node(label, scope: node.scope, reason: "a result is no value of this graph")
    }
    let found = node.results.map { type(of: $0) }
    guard types == found else {
      let expected = types.map(\.description).joined(separator: ", ")
      throw .node(
        label, scope: node.scope,
        reason: "makes \(expected), not \(found.map(\.description).joined(separator: ", "))")
    }
  }
}
