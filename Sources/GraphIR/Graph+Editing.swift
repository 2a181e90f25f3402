import OrderedCollections

extension Graph {
  /// Adds a value that a node is going to make; its name is `name`, made free by a number where it is taken.
  public mutating func makeValue(named name: String, type: ValueType) -> ValueID {
    makeValue(exactly: freeName(name), type: type)
  }

  /// Inserts a node whose results' types follow from its operands, and returns the results.
  ///
  /// Attributes equal to their defaults are dropped, the rest put in the order of the definition. `names` are wishes
  /// for the results' names.
  /// - Throws: ``GraphError`` when the operation is unknown or the operands do not fit; the graph is then unchanged.
  @discardableResult
  public mutating func insert(
    _ operation: Operation, _ operands: [Operand],
    attributes: OrderedDictionary<String, Attribute> = [:], names: [String] = [], scope: String = "",
    at index: Int? = nil
  ) throws(GraphError) -> [ValueID] {
    let (node, types) = try checkedNode(
      operation, operands, attributes: attributes, scope: scope, label: names.first ?? operation.rawValue)
    var complete = node
    for (position, type) in types.enumerated() {
      let wish = position < names.count ? names[position] : operation.rawValue
      complete.results.append(makeValue(named: wish, type: type))
    }
    nodes.insert(complete, at: index ?? nodes.count)
    return complete.results
  }

  /// Inserts a node that makes values which exist already, in the place of those that made them before.
  ///
  /// The caller removes the nodes that made them, without their values.
  /// - Throws: ``GraphError`` when the operands do not fit or the results' types are others; the graph is then
  ///   unchanged.
  public mutating func insert(
    _ operation: Operation, _ operands: [Operand], attributes: OrderedDictionary<String, Attribute> = [:],
    making results: [ValueID], scope: String = "", at index: Int? = nil
  ) throws(GraphError) {
    let label = results.first.map { name(of: $0) } ?? operation.rawValue
    let (node, types) = try checkedNode(
      operation, operands, attributes: attributes, scope: scope, label: label)
    guard types == results.map({ type(of: $0) }) else {
      throw .node(label, scope: scope, reason: "\(operation) makes \(types), not the type that it has")
    }
    var complete = node
    complete.results = results
    nodes.insert(complete, at: index ?? nodes.count)
  }

  /// A node without results, and their types.
  private func checkedNode(
    _ operation: Operation, _ operands: [Operand], attributes: OrderedDictionary<String, Attribute>,
    scope: String, label: String
  ) throws(GraphError) -> (Node, [ValueType]) {
    guard let definition = OperationDefinition.named(operation) else {
      throw .node(label, scope: scope, reason: "there is no operation '\(operation)'")
    }
    guard nodes.last?.scope == scope || TextForm.isScope(scope) else {
      throw .node(label, scope: "", reason: "'\(scope)' is not a scope")
    }
    let canonical = try definition.canonicalAttributes(attributes, label: label, scope: scope)
    let node = Node(
      operation: operation, operands: operands, attributes: canonical, results: [], scope: scope)
    return (node, try definition.resultTypes(of: node, in: self, label: label))
  }

  /// Makes every user of `old`, and every output that is `old`, take `new` instead.
  ///
  /// An output's name follows its value: `return` then names `new`.
  public mutating func replaceUses(of old: ValueID, with new: ValueID) {
    for index in nodes.indices {
      for position in nodes[index].operands.indices where nodes[index].operands[position] == .value(old) {
        nodes[index].operands[position] = .value(new)
      }
    }
    for position in outputs.indices where outputs[position] == old { outputs[position] = new }
  }

  /// As ``replaceUses(of:with:)`` for many values in one walk; a replacement may itself be replaced.
  public mutating func replaceUses(_ replacements: [ValueID: ValueID]) {
    guard !replacements.isEmpty else { return }
    func final(_ value: ValueID) -> ValueID {
      var result = value
      var steps = 0
      while let next = replacements[result], steps <= replacements.count {
        result = next
        steps += 1
      }
      return result
    }
    for index in nodes.indices {
      for position in nodes[index].operands.indices {
        if let value = nodes[index].operands[position].value, replacements[value] != nil {
          nodes[index].operands[position] = .value(final(value))
        }
      }
    }
    for position in outputs.indices { outputs[position] = final(outputs[position]) }
  }

  /// Removes nodes and the values that they make; nothing may use these any more.
  public mutating func removeNodes(at indices: Set<Int>) {
    guard !indices.isEmpty else { return }
    for index in indices where nodes.indices.contains(index) {
      for result in nodes[index].results { removeValue(result) }
    }
    nodes = nodes.enumerated().filter { !indices.contains($0.offset) }.map(\.element)
  }

  /// Removes the declarations of constants that no node uses, and returns their names.
  @discardableResult
  public mutating func removeUnusedConstants() -> [String] {
    var used: Set<String> = []
    for node in nodes { used.formUnion(node.constantOperands) }
    let unused = Array(constants.keys.filter { !used.contains($0) })
    if !unused.isEmpty { constants.removeAll { !used.contains($0.key) } }
    return unused
  }

  /// Gives a value another name.
  /// - Throws: ``GraphError/graph(_:)`` when another value has the name.
  public mutating func rename(_ value: ValueID, to name: String) throws(GraphError) {
    guard contains(value) else { throw .graph("there is no such value to name '\(name)'") }
    if self.name(of: value) == name { return }
    guard identifiers[name] == nil, !name.isEmpty else {
      throw .graph("the name '\(name)' is empty or taken")
    }
    identifiers[self.name(of: value)] = nil
    slots[value.raw]?.name = name
    identifiers[name] = value
  }

  /// Gives a constant another name, wherever it is used.
  /// - Throws: ``GraphError/graph(_:)`` when there is no such constant or another one has the name.
  public mutating func renameConstant(_ old: String, to new: String) throws(GraphError) {
    if old == new { return }
    guard constants[old] != nil else { throw .graph("there is no constant '\(old)'") }
    guard constants[new] == nil, !new.isEmpty else {
      throw .graph("the constant name '\(new)' is empty or taken")
    }
    constants = OrderedDictionary(
      uniqueKeysWithValues: constants.map { ($0.key == old ? new : $0.key, $0.value) })
    for index in nodes.indices {
      for position in nodes[index].operands.indices {
        switch nodes[index].operands[position] {
        case .constant(old): nodes[index].operands[position] = .constant(new)
        case .concatenation(let names):
          nodes[index].operands[position] = .concatenation(names.map { $0 == old ? new : $0 })
        default: break
        }
      }
    }
  }
}
