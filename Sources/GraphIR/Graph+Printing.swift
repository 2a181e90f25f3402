import OrderedCollections

extension Graph: CustomStringConvertible {
  /// The textual form.
  public var description: String { printed() }

  /// The textual form, described in TextForm.md; ``init(parsing:)`` reads it back.
  public func printed() -> String {
    var printer = GraphPrinter(graph: self)
    return printer.print()
  }
}

/// Writes the textual form.
private struct GraphPrinter {
  let graph: Graph
  private var text = ""
  private var open: [String] = []
  private var scope = ""

  init(graph: Graph) { self.graph = graph }

  mutating func print() -> String {
    let inputs = graph.inputs.map {
      TextForm.word(graph.name(of: $0)) + ": " + graph.type(of: $0).description
    }
    text = "graph @\(TextForm.word(graph.name)) (\(inputs.joined(separator: ", "))) {\n"
    if !graph.constants.isEmpty {
      text += "  constants {\n"
      for (name, type) in graph.constants { text += "    @\(TextForm.word(name)): \(type)\n" }
      text += "  }\n"
    }
    for node in graph.nodes {
      enter(node.scope)
      printNode(node)
    }
    enter("")
    text += "  return " + graph.outputs.map(reference).joined(separator: ", ") + "\n}\n"
    return text
  }

  private var indentation: String { String(repeating: "  ", count: open.count + 1) }

  /// Closes and opens blocks until the open ones are those of the scope.
  private mutating func enter(_ scope: String) {
    if scope == self.scope { return }
    self.scope = scope
    let labels = TextForm.labels(of: scope)
    let common = zip(labels, open).prefix { $0 == $1 }.count
    while open.count > common {
      open.removeLast()
      text += indentation + "}\n"
    }
    for label in labels[common...] {
      text += indentation + label + " {\n"
      open.append(label)
    }
  }

  private func reference(_ value: ValueID) -> String { "%" + TextForm.word(graph.name(of: value)) }

  private func reference(_ operand: Operand) -> String {
    switch operand {
    case .value(let value): reference(value)
    case .constant(let name): "@" + TextForm.word(name)
    case .concatenation(let names): "[" + names.map { "@" + TextForm.word($0) }.joined(separator: ", ") + "]"
    }
  }

  private mutating func printNode(_ node: Node) {
    var line = indentation + node.results.map(reference).joined(separator: ", ")
    line += " = \(node.operation) " + node.operands.map(reference).joined(separator: ", ")
    if !node.attributes.isEmpty {
      let attributes = node.attributes.map { "\($0.key) = \($0.value.printed)" }
      line += " {" + attributes.joined(separator: ", ") + "}"
    }
    let padding = TextForm.typeColumn - line.utf8.count
    if padding > 0 { line += String(repeating: " ", count: padding) }
    text += line + " : " + node.results.map { graph.type(of: $0).description }.joined(separator: ", ") + "\n"
  }
}
