import OrderedCollections

/// Builds a graph node by node; types follow from the operations.
public struct GraphBuilder: Sendable {
  private var graph: Graph
  private var scopes: [String] = []
  private var scope: String { scopes.last ?? "" }

  /// Starts an empty graph.
  public init(name: String) { graph = Graph(name: name) }

  /// Declares an input of the graph.
  /// - Throws: ``GraphError/graph(_:)`` when the name is taken.
  public mutating func input(_ name: String, _ type: ValueType) throws(GraphError) -> ValueID {
    guard graph.value(named: name) == nil, !name.isEmpty else {
      throw .graph("the input name '\(name)' is empty or taken")
    }
    let value = graph.makeValue(exactly: name, type: type)
    graph.inputs.append(value)
    return value
  }

  /// Declares a constant, or finds it when it is declared already, and returns it as an operand.
  /// - Throws: ``GraphError/graph(_:)`` when it is declared with another type.
  @discardableResult
  public mutating func constant(_ name: String, _ type: ConstantType) throws(GraphError) -> Operand {
    if let declared = graph.constants[name], declared != type {
      throw .graph("constant '\(name)' is both \(declared) and \(type)")
    }
    graph.constants[name] = type
    return .constant(name)
  }

  /// Appends a node with one result, in the current scope.
  ///
  /// - Parameter name: a wish for the result's name; a number is added when it is taken.
  /// - Throws: ``GraphError`` when the operation is unknown, has other than one result, or the operands do not fit.
  public mutating func add(
    _ operation: Operation, _ operands: [Operand],
    attributes: OrderedDictionary<String, Attribute> = [:], name: String
  ) throws(GraphError) -> ValueID {
    let results = try add(operation, operands, attributes: attributes, names: [name])
    guard results.count == 1 else {
      throw .node(name, scope: scope, reason: "\(operation) has \(results.count) results")
    }
    return results[0]
  }

  /// Appends a node in the current scope and returns its results.
  /// - Throws: ``GraphError`` when the operation is unknown or the operands do not fit.
  public mutating func add(
    _ operation: Operation, _ operands: [Operand],
    attributes: OrderedDictionary<String, Attribute> = [:], names: [String]
  ) throws(GraphError) -> [ValueID] {
    try graph.insert(operation, operands, attributes: attributes, names: names, scope: scope)
  }

  /// Lets `body` build inside a scope below the current one.
  /// - Throws: what `body` throws.
  public mutating func withScope<Result, Failure: Error>(
    _ name: String, _ body: (inout GraphBuilder) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    openScope(name)
    defer { closeScope() }
    return try body(&self)
  }

  /// Lets what follows stand in a scope below the current one, until ``closeScope()``.
  public mutating func openScope(_ name: String) {
    scopes.append(scope.isEmpty ? name : scope + "." + name)
  }

  /// Goes back to the scope around the current one.
  public mutating func closeScope() { _ = scopes.popLast() }

  /// The type of a value built so far.
  public func type(of value: ValueID) -> ValueType { graph.type(of: value) }

  /// The finished graph.
  /// - Throws: ``GraphError`` when it is not valid.
  public func finish(outputs: [ValueID]) throws(GraphError) -> Graph {
    var result = graph
    result.outputs = outputs
    try result.verify()
    return result
  }
}
