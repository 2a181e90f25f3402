import OrderedCollections

/// What one operation takes, makes and means.
///
/// The list ``all`` is the registry: the verifier, the builder, the parser and the documentation read it. A new
/// operation is an entry in it, and an entry in the interpreter's table that computes it.
public struct OperationDefinition: Sendable {
  /// What an operand may be.
  public struct OperandDefinition: Sendable {
    /// Kinds of operands.
    public enum Kind: String, Sendable {
      /// A value.
      case value
      /// One constant.
      case constant
      /// One constant, or the rows of several.
      case constants
    }
    /// What messages and documents call it.
    public let name: String
    /// What it may be.
    public let kind: Kind
    /// Whether it may be left out; only last ones may.
    public let isOptional: Bool

    static func value(_ name: String) -> OperandDefinition {
      OperandDefinition(name: name, kind: .value, isOptional: false)
    }
    static func constant(_ name: String) -> OperandDefinition {
      OperandDefinition(name: name, kind: .constant, isOptional: false)
    }
    static func optionalConstant(_ name: String) -> OperandDefinition {
      OperandDefinition(name: name, kind: .constant, isOptional: true)
    }
    static func constants(_ name: String, optional: Bool = false) -> OperandDefinition {
      OperandDefinition(name: name, kind: .constants, isOptional: optional)
    }
  }

  /// A parameter of the operation.
  public struct AttributeDefinition: Sendable {
    /// Its name.
    public let name: String
    /// What it holds.
    public let kind: Attribute.Kind
    /// What it is when it is not written; nil when it must be.
    public let defaultValue: Attribute?

    static func required(_ name: String, _ kind: Attribute.Kind) -> AttributeDefinition {
      AttributeDefinition(name: name, kind: kind, defaultValue: nil)
    }
    static func optional(_ name: String, _ value: Attribute) -> AttributeDefinition {
      AttributeDefinition(name: name, kind: value.kind, defaultValue: value)
    }
  }

  /// The name.
  public let operation: Operation
  /// What it computes, in terms of its operands and attributes.
  public let summary: String
  /// What it takes, in order.
  public let operands: [OperandDefinition]
  /// Its parameters, in the order in which they are printed.
  public let attributes: [AttributeDefinition]
  /// Types of the results, or why the operands do not fit.
  let infer: @Sendable (OperandTypes) throws(OperandTypes.Mismatch) -> [ValueType]

  /// All operations, in the order of the documentation.
  public static let all: [OperationDefinition] =
    projections + normalizations + attentions + elementwise + experts + fused

  /// The definition of an operation.
  public static func named(_ operation: Operation) -> OperationDefinition? { byName[operation] }

  private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.operation, $0) })
}

extension OperationDefinition {
  /// Whether attributes are all that must be, of the right kinds, in the order of the definition and without defaults.
  func isCanonical(_ given: OrderedDictionary<String, Attribute>) -> Bool {
    var next = 0
    for definition in attributes {
      guard next < given.count, given.elements[next].key == definition.name else {
        if definition.defaultValue == nil { return false }
        continue
      }
      let value = given.elements[next].value
      guard value.kind == definition.kind, value.isPrintable, value != definition.defaultValue else {
        return false
      }
      next += 1
    }
    return next == given.count
  }

  /// Attributes in the order of the definition, without those that equal their defaults; whole numbers become real
  /// where a real one belongs.
  func canonicalAttributes(
    _ given: OrderedDictionary<String, Attribute>, label: String, scope: String
  ) throws(GraphError) -> OrderedDictionary<String, Attribute> {
    for name in given.keys where !attributes.contains(where: { $0.name == name }) {
      throw .node(label, scope: scope, reason: "\(operation) has no attribute '\(name)'")
    }
    var canonical: OrderedDictionary<String, Attribute> = [:]
    for definition in attributes {
      guard var value = given[definition.name] else {
        if definition.defaultValue == nil {
          throw .node(label, scope: scope, reason: "\(operation) needs the attribute '\(definition.name)'")
        }
        continue
      }
      if case .int(let whole) = value, definition.kind == .float { value = .float(Double(whole)) }
      guard value.kind == definition.kind, value.isPrintable else {
        throw .node(
          label, scope: scope,
          reason:
            "attribute '\(definition.name)' of \(operation) must be a finite \(definition.kind.rawValue)")
      }
      if value != definition.defaultValue { canonical[definition.name] = value }
    }
    return canonical
  }

  /// Types of a node's results.
  func resultTypes(of node: Node, in graph: Graph, label: String) throws(GraphError) -> [ValueType] {
    let types: OperandTypes
    do throws(OperandTypes.Mismatch) {
      types = try OperandTypes(node, definition: self, graph: graph)
      return try infer(types)
    } catch {
      throw .node(label, scope: node.scope, reason: "\(operation): \(error.reason)")
    }
  }
}
