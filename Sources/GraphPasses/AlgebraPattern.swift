import GraphIR
import OrderedCollections

/// What a rule of algebra looks for: a node whose operands are values, or again nodes.
indirect enum AlgebraPattern: Sendable {
  /// Any value, which gets a name.
  case any(String)
  /// A node that makes one value, which gets a name, of these operands; constants are not looked at.
  case node(String, Operation, [AlgebraPattern])
}

/// What a pattern was found to be.
struct AlgebraMatch {
  let graph: Graph
  fileprivate(set) var values: [String: ValueID] = [:]
  fileprivate(set) var nodes: [String: Node] = [:]

  /// Columns of a named value.
  func columns(_ name: String) -> Int { values[name].flatMap { graph.type(of: $0).columns } ?? 0 }

  /// An attribute of a named node, or its default; 0 when there is none.
  func integer(_ node: String, _ name: String) -> Int { (try? nodes[node]?.integer(name)) ?? 0 }

  /// An attribute of a named node, or its default; 0 when there is none.
  func float(_ node: String, _ name: String) -> Double { (try? nodes[node]?.float(name)) ?? 0 }
}

/// What a match becomes.
enum AlgebraResult {
  /// A named value of the pattern.
  case value(String)
  /// The root with other operands, named values, and other attributes.
  case root([String], OrderedDictionary<String, Attribute>)
  /// Another operation on named values, which makes what the root made.
  case other(Operation, [String], OrderedDictionary<String, Attribute>)
  /// The match stays; the first condition that does not hold.
  case refused(String)
  /// The match is no occasion for the rule: nothing to say.
  case none
}

/// One law: a pattern and what it becomes.
struct AlgebraRule: Sendable {
  /// What the law is, for people.
  let name: String
  let pattern: AlgebraPattern
  let result: @Sendable (AlgebraMatch) -> AlgebraResult
}

/// Finds patterns in a graph while values are being replaced.
struct AlgebraMatcher {
  let graph: Graph
  let uses: UseTable
  var replacements: [ValueID: ValueID] = [:]

  /// What the first law that has something to say makes of a node.
  struct Finding {
    /// The law.
    let law: String
    let outcome: Outcome
  }

  /// What becomes of a node.
  enum Outcome {
    case value(ValueID)
    case node(Operation, [ValueID], OrderedDictionary<String, Attribute>)
    case refused(String)
  }

  /// What the first law that has something to say makes of the node at `index`; nil when none has.
  func finding(_ rules: [AlgebraRule], at index: Int) -> Finding? {
    for rule in rules {
      guard let match = match(rule.pattern, at: index),
        let outcome = outcome(rule.result(match), match, at: index)
      else { continue }
      return Finding(law: rule.name, outcome: outcome)
    }
    return nil
  }

  private func outcome(_ result: AlgebraResult, _ match: AlgebraMatch, at index: Int) -> Outcome? {
    func node(
      _ operation: Operation, _ names: [String], _ attributes: OrderedDictionary<String, Attribute>
    ) -> Outcome { .node(operation, names.compactMap { match.values[$0] }, attributes) }
    switch result {
    case .none: return nil
    case .refused(let reason): return .refused(reason)
    case .value(let name): return match.values[name].map { .value($0) }
    case .root(let names, let attributes): return node(graph.nodes[index].operation, names, attributes)
    case .other(let operation, let names, let attributes): return node(operation, names, attributes)
    }
  }

  /// The named parts when the node at `index` is the root of the pattern.
  func match(_ pattern: AlgebraPattern, at index: Int) -> AlgebraMatch? {
    guard let result = graph.nodes[index].results.first else { return nil }
    var match = AlgebraMatch(graph: graph)
    return matches(pattern, result, &match) ? match : nil
  }

  private func matches(_ pattern: AlgebraPattern, _ value: ValueID, _ match: inout AlgebraMatch) -> Bool {
    let value = replacements[value] ?? value
    switch pattern {
    case .any(let name):
      if let known = match.values[name] { return known == value }
      match.values[name] = value
      return true
    case .node(let name, let operation, let operands):
      if let known = match.values[name], known != value { return false }
      if match.nodes[name] != nil { return true }
      guard let index = uses.producer(of: value) else { return false }
      let node = graph.nodes[index]
      let values = node.valueOperands
      guard node.operation == operation, node.results == [value], values.count == operands.count else {
        return false
      }
      match.nodes[name] = node
      match.values[name] = value
      for (operand, inner) in zip(values, operands) where !matches(inner, operand, &match) { return false }
      return true
    }
  }
}
