import OrderedCollections

extension Graph {
  /// Checks every rule of the language: names, types, order, operations, attributes, scopes, declarations.
  ///
  /// Linear in the size of the graph. A graph that passes can be printed, and its text read back as the same graph.
  /// - Throws: ``GraphError``, naming the first offender.
  public func verify() throws(GraphError) {
    try verifyDeclarations()
    var made = Set(inputs)
    guard made.count == inputs.count else { throw .graph("an input is listed twice") }
    for input in inputs where !contains(input) { throw .graph("an input is no value of this graph") }
    var scope = ""
    for node in nodes {
      guard node.scope == scope || TextForm.isScope(node.scope) else {
        throw .node(node.operation.rawValue, scope: "", reason: "'\(node.scope)' is not a scope")
      }
      scope = node.scope
      try verify(node, made: made)
      for result in node.results where !made.insert(result).inserted {
        throw .node(name(of: result), scope: node.scope, reason: "is made twice")
      }
    }
    guard !outputs.isEmpty else { throw .graph("the graph returns nothing") }
    for output in outputs {
      guard contains(output) else { throw .graph("an output is no value of this graph") }
      guard made.contains(output) else { throw .graph("nothing makes the output '\(name(of: output))'") }
    }
    for value in values where !made.contains(value) {
      throw .graph("nothing makes the value '\(name(of: value))'")
    }
  }

  private func verifyDeclarations() throws(GraphError) {
    try verifyName(name, what: "graph")
    var seen: Set<String> = []
    for value in values {
      let name = name(of: value)
      try verifyName(name, what: "value")
      guard seen.insert(name).inserted, identifiers[name] == value else {
        throw .graph("two values are called '\(name)'")
      }
      let type = type(of: value)
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

  private func verify(_ node: Node, made: Set<ValueID>) throws(GraphError) {
    let first = node.results.first
    let label = first.flatMap { contains($0) ? name(of: $0) : nil } ?? node.operation.rawValue
    guard let definition = OperationDefinition.named(node.operation) else {
      throw .node(label, scope: node.scope, reason: "there is no operation '\(node.operation)'")
    }
    for operand in node.valueOperands where !made.contains(operand) {
      let name = contains(operand) ? name(of: operand) : "?"
      throw .node(label, scope: node.scope, reason: "uses '\(name)' before it is made")
    }
    let canonical = try definition.canonicalAttributes(node.attributes, label: label, scope: node.scope)
    guard canonical == node.attributes else {
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
