import GraphIR
import OrderedCollections

/// What passes that fold numbers into weights share: whether a weight can take them, and new constants.
struct ConstantFolder {
  /// Begins names of gains of one.
  static let onesPrefix = "folded.ones."

  var graph: Graph
  var report: PassReport
  private let useCounts: [String: Int]

  init(_ graph: Graph, _ report: PassReport) {
    self.graph = graph
    self.report = report
    var counts: [String: Int] = [:]
    for node in graph.nodes {
      for name in Set(node.constantOperands) { counts[name, default: 0] += 1 }
    }
    useCounts = counts
  }

  /// Why constants cannot take factors; nil when they can: plain floating-point numbers that no other node reads.
  func refusal(_ names: [String]) -> String? {
    for name in names {
      let encoding = graph.constants[name]?.encoding ?? ""
      guard ["f32", "bf16", "f16", "f64"].contains(encoding) else {
        return "@\(name) is stored as \(encoding), whose codes would change"
      }
      // Constants that this pass made belong to one node.
      guard useCounts[name] ?? 1 == 1, names.count(where: { $0 == name }) == 1 else {
        return "another node reads @\(name), too"
      }
    }
    return nil
  }

  /// Declares a constant in the place of another.
  mutating func replace(
    _ name: String, by expression: ConstantExpression, dimensions: [Int]? = nil
  ) -> String {
    let shape = dimensions ?? graph.constants[name]?.dimensions ?? []
    let new = declare(name + ".folded", expression, shape)
    graph.constants[name] = nil
    return new
  }

  /// Declares a constant; the name gets a number when it is taken.
  mutating func declare(_ wish: String, _ expression: ConstantExpression, _ dimensions: [Int]) -> String {
    var name = wish
    var number = 1
    while graph.constants[name] != nil {
      name = "\(wish).\(number)"
      number += 1
    }
    graph.constants[name] = ConstantType("f32", dimensions)
    report.folded(name, expression)
    return name
  }

  /// A gain of ones, the same one for all norms of a width.
  mutating func ones(_ count: Int) -> Operand {
    let name = Self.onesPrefix + "\(count)"
    if graph.constants[name] == nil {
      graph.constants[name] = ConstantType("f32", [count])
      report.folded(name, .ones(count))
    }
    return .constant(name)
  }

  /// An operand of as many constants.
  static func operand(_ names: [String]) -> Operand {
    names.count == 1 ? .constant(names[0]) : .concatenation(names)
  }
}

extension ConstantFolder {
  /// What a pass means to do at a node.
  enum Candidate<Plan> {
    case fold(Plan)
    /// The first condition that does not hold.
    case refused(String)
  }

  /// Folds the first node that can be folded, until none can, and reports those that are left.
  /// - Parameters:
  ///   - plan: what to do at a node; nil for one that is no candidate.
  ///   - fold: does it, and reports it.
  static func foldEach<Plan>(
    in graph: inout Graph, _ report: PassReport,
    plan: (Int, UseTable, ConstantFolder) throws(GraphError) -> Candidate<Plan>?,
    fold: (Int, Plan, inout ConstantFolder) throws(GraphError) -> Void
  ) throws(GraphError) -> PassReport {
    var folder = ConstantFolder(graph, report)
    while true {
      let uses = folder.graph.uses
      var misses: [(site: String, reason: String)] = []
      var chosen: (index: Int, plan: Plan)?
      for index in folder.graph.nodes.indices where chosen == nil {
        switch try plan(index, uses, folder) {
        case .fold(let plan): chosen = (index, plan)
        case .refused(let reason):
          misses.append((folder.graph.name(of: folder.graph.nodes[index].results[0]), reason))
        case nil: break
        }
      }
      guard let chosen else {
        for miss in misses { folder.report.missed(at: miss.site, miss.reason) }
        graph = folder.graph
        return folder.report
      }
      try fold(chosen.index, chosen.plan, &folder)
      folder = ConstantFolder(folder.graph, folder.report)
    }
  }
}
