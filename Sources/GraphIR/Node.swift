import OrderedCollections

/// What a node works on.
public enum Operand: Hashable, Sendable {
  /// The result of another node, or an input of the graph.
  case value(ValueID)
  /// A weight or table of the model, by the name that the checkpoint gives it.
  case constant(String)
  /// The rows of several constants, one after the other, as one constant.
  case concatenation([String])

  /// The value, when it is one.
  public var value: ValueID? {
    if case .value(let id) = self { id } else { nil }
  }

  /// Names of the constants, in order; empty for a value.
  public var constants: [String] {
    switch self {
    case .value: []
    case .constant(let name): [name]
    case .concatenation(let names): names
    }
  }
}

/// One operation of a graph.
public struct Node: Sendable {
  /// What is computed.
  public var operation: Operation
  /// What it is computed from.
  public var operands: [Operand]
  /// Parameters that differ from their defaults, in the order of the definition.
  public var attributes: OrderedDictionary<String, Attribute>
  /// The values that it makes.
  public var results: [ValueID]
  /// Where it belongs in the model, such as `layers.3.attention`; empty at the top.
  public var scope: String

  init(
    operation: Operation, operands: [Operand], attributes: OrderedDictionary<String, Attribute>,
    results: [ValueID], scope: String
  ) {
    self.operation = operation
    self.operands = operands
    self.attributes = attributes
    self.results = results
    self.scope = scope
  }

  /// The values among the operands, in order.
  public var valueOperands: [ValueID] { operands.compactMap(\.value) }

  /// Names of all constants among the operands, in order.
  public var constantOperands: [String] { operands.flatMap(\.constants) }

  /// The attribute, or its default.
  /// - Throws: ``GraphError/node(_:scope:reason:)`` when the operation has no such attribute.
  public func attribute(_ name: String) throws(GraphError) -> Attribute {
    if let attribute = attributes[name] { return attribute }
    let definition = OperationDefinition.named(operation)
    guard let value = definition?.attributes.first(where: { $0.name == name })?.defaultValue else {
      throw .node(operation.rawValue, scope: scope, reason: "has no attribute '\(name)'")
    }
    return value
  }

  /// A whole-number attribute, or its default.
  /// - Throws: ``GraphError/node(_:scope:reason:)`` when there is none or it is of another kind.
  public func integer(_ name: String) throws(GraphError) -> Int {
    if case .int(let value) = try attribute(name) { return value }
    throw .node(operation.rawValue, scope: scope, reason: "attribute '\(name)' is not an integer")
  }

  /// A real attribute, or its default.
  /// - Throws: ``GraphError/node(_:scope:reason:)`` when there is none or it is of another kind.
  public func float(_ name: String) throws(GraphError) -> Double {
    if case .float(let value) = try attribute(name) { return value }
    throw .node(operation.rawValue, scope: scope, reason: "attribute '\(name)' is not a real number")
  }

  /// A truth-value attribute, or its default.
  /// - Throws: ``GraphError/node(_:scope:reason:)`` when there is none or it is of another kind.
  public func bool(_ name: String) throws(GraphError) -> Bool {
    if case .bool(let value) = try attribute(name) { return value }
    throw .node(operation.rawValue, scope: scope, reason: "attribute '\(name)' is not a truth value")
  }

  /// A text attribute, or its default.
  /// - Throws: ``GraphError/node(_:scope:reason:)`` when there is none or it is of another kind.
  public func string(_ name: String) throws(GraphError) -> String {
    if case .string(let value) = try attribute(name) { return value }
    throw .node(operation.rawValue, scope: scope, reason: "attribute '\(name)' is not text")
  }
}
