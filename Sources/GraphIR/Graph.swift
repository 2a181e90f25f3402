import OrderedCollections

/// A model as operations on values, each value made once; nodes stand in an order in which they can run.
///
/// Values and nodes are made by ``GraphBuilder``, by ``init(parsing:)`` or by the editing methods, which keep names
/// unique. Whoever edits `nodes` directly runs ``verify()`` afterwards.
public struct Graph: Sendable {
  /// What a value is called and made of.
  struct Value: Hashable, Sendable {
    var name: String
    var type: ValueType
  }

  /// Name of the graph.
  public var name: String
  /// What a run is given, in order; a value's name is the input's name.
  public internal(set) var inputs: [ValueID] = []
  /// What a run gives back, in order; a value's name is the output's name.
  public var outputs: [ValueID] = []
  /// The operations, each after those that make its operands.
  public var nodes: [Node] = []
  /// Weights and tables, by name; order of declaration.
  public var constants: OrderedDictionary<String, ConstantType> = [:]

  var slots: [Value?] = []
  var identifiers: [String: ValueID] = [:]

  /// An empty graph, which is not valid before it has an output.
  public init(name: String) { self.name = name }

  /// Whether the value is one of this graph.
  public func contains(_ value: ValueID) -> Bool {
    slots.indices.contains(value.raw) && slots[value.raw] != nil
  }

  /// The name of a value of this graph.
  public func name(of value: ValueID) -> String { slot(value).name }

  /// The type of a value of this graph.
  public func type(of value: ValueID) -> ValueType { slot(value).type }

  /// The value with this name.
  public func value(named name: String) -> ValueID? { identifiers[name] }

  /// All values in order of creation.
  public var values: [ValueID] { slots.indices.lazy.filter { slots[$0] != nil }.map { ValueID($0) } }

  private func slot(_ value: ValueID) -> Value {
    guard slots.indices.contains(value.raw), let slot = slots[value.raw] else {
      preconditionFailure("a value of another graph")
    }
    return slot
  }

  /// Adds a value without a producer; `name` must be free.
  mutating func makeValue(exactly name: String, type: ValueType) -> ValueID {
    let value = ValueID(slots.count)
    slots.append(Value(name: name, type: type))
    identifiers[name] = value
    return value
  }

  /// Forgets a value that nothing makes or uses any more.
  mutating func removeValue(_ value: ValueID) {
    guard contains(value) else { return }
    identifiers[name(of: value)] = nil
    slots[value.raw] = nil
  }

  /// The name, or the name with the smallest number that makes it free.
  func freeName(_ name: String) -> String {
    let hint = name.isEmpty ? "v" : name
    guard identifiers[hint] != nil else { return hint }
    var number = 1
    while identifiers["\(hint)_\(number)"] != nil { number += 1 }
    return "\(hint)_\(number)"
  }
}
