import Execution
import GraphIR
import GraphPasses
import OrderedCollections
import TestSupport
import Testing

@Suite struct MemoryPlanTests {
  /// Runs a plan on cells that remember what was written to them, and reads every operand back cell by cell.
  @Test func valuesAreIntactWhenTheyAreRead() throws {
    var inPlaceCount = 0
    for seed: UInt64 in 0..<400 {
      var random = try RandomGraph(seed: seed, nodeCount: 4 + Int(seed % 60), floatInputs: [16, 32])
      var graph = try random.finish(outputCount: 1 + Int(seed % 3))
      if seed % 2 == 1 { _ = try PassPipeline.standard.run(&graph) }
      var machine = try CellMachine(graph)
      let problems = machine.run()
      #expect(problems.isEmpty, "seed \(seed): \(problems.prefix(3))\n\(graph.printed())")
      inPlaceCount += machine.inPlaceCount
    }
    #expect(inPlaceCount > 200, "operations hardly ever work in place")
  }

  @Test func theArenaIsSharedByLiveness() throws {
    var builder = GraphBuilder(name: "chain")
    var value = try builder.input("x", .activations(64))
    for index in 0..<50 {
      let weight = try builder.constant("w\(index)", ConstantType("f32", [64, 64]))
      value = try builder.add(.linear, [.value(value), weight], name: "l")
    }
    let plan = try MemoryPlan(try builder.finish(outputs: [value]))
    #expect(plan.arenaColumns == 128)
  }

  @Test func anArenaBeyondReasonIsRefused() throws {
    var builder = GraphBuilder(name: "wide")
    let x = try builder.input("x", .activations(1 << 30))
    let y = try builder.add(.silu, [.value(x)], name: "y")
    let z = try builder.add(.silu, [.value(y)], name: "z")
    let graph = try builder.finish(outputs: [z])
    #expect(throws: ExecutionError.self) { try MemoryPlan(graph) }
  }
}

/// Executes a plan symbolically, three tokens at a time: each cell of memory holds the name of the element in it.
private struct CellMachine {
  private struct Address: Hashable {
    let space: Int
    let index: Int
  }

  /// An element of a value: views name the element of the value that they look at.
  private struct Element: Hashable {
    let value: ValueID
    let row: Int
    let column: Int
  }

  private static let rows = 3
  let graph: Graph
  let plan: MemoryPlan
  private(set) var inPlaceCount = 0
  private var cells: [Address: Element] = [:]
  private var origins: [ValueID: (value: ValueID, column: Int)] = [:]

  init(_ graph: Graph) throws {
    self.graph = graph
    plan = try MemoryPlan(graph)
  }

  mutating func run() -> [String] {
    var problems: [String] = []
    for input in graph.inputs where plan.locations[input] != nil { write(input) }
    for (index, node) in graph.nodes.enumerated() {
      for operand in node.valueOperands where !isIntact(operand) {
        problems.append("node \(index) \(node.operation) reads a clobbered \(graph.name(of: operand))")
      }
      if isView(node), let source = node.valueOperands.first, let start = try? node.integer("start") {
        let origin = origins[source] ?? (source, 0)
        origins[node.results[0]] = (origin.value, origin.column + start)
        continue
      }
      problems += conflicts(node).map { "node \(index) \(node.operation) \($0)" }
      for result in node.results { write(result) }
    }
    for (number, output) in graph.outputs.enumerated() {
      if !isIntact(output) { problems.append("output \(number) is clobbered") }
      let isCopied = plan.copies.contains { $0.target.space == .output(number) }
      let isWritten = plan.locations[output]?.space == .output(number)
      if isCopied == isWritten { problems.append("output \(number) is made \(isCopied ? "twice" : "never")") }
    }
    return problems
  }

  private func isView(_ node: Node) -> Bool {
    node.operation == .slice && !graph.outputs.contains(node.results[0])
  }

  /// Results may only lie on operands that are overwritten element by element, and never on each other.
  private mutating func conflicts(_ node: Node) -> [String] {
    var problems: [String] = []
    let operands = node.valueOperands.filter { plan.locations[$0] != nil }
    for (position, result) in node.results.enumerated() {
      let written = Set(addresses(result))
      for other in node.results where other != result && !written.isDisjoint(with: addresses(other)) {
        problems.append("writes two results to one place")
      }
      for operand in operands where !written.isDisjoint(with: addresses(operand)) {
        inPlaceCount += 1
        let isElementwise = ![.linear, .attention, .embedding, .rmsNorm].contains(node.operation)
        if !isElementwise || position > 0 || plan.locations[result] != plan.locations[operand] {
          problems.append("overwrites an operand")
        }
        let readsOthersLater = [.rope, .scaleRows, .geglu, .expertBias].contains(node.operation)
        if readsOthersLater, node.valueOperands.dropFirst().contains(operand) {
          problems.append("overwrites an operand that it still reads")
        }
      }
    }
    return problems
  }

  private mutating func write(_ value: ValueID) {
    for (address, element) in zip(addresses(value), elements(value)) { cells[address] = element }
  }

  private func isIntact(_ value: ValueID) -> Bool {
    guard plan.locations[value] != nil else { return graph.type(of: value).element == .i32 }
    return zip(addresses(value), elements(value)).allSatisfy { cells[$0] == $1 }
  }

  private func elements(_ value: ValueID) -> [Element] {
    let columns = graph.type(of: value).columns ?? 0
    let origin = origins[value] ?? (value, 0)
    return (0..<Self.rows).flatMap { row in
      (0..<columns).map { Element(value: origin.value, row: row, column: origin.column + $0) }
    }
  }

  private func addresses(_ value: ValueID) -> [Address] {
    guard let location = plan.locations[value] else { return [] }
    let (space, base) =
      switch location.space {
      case .arena(let offset): (0, offset * Self.rows)
      case .input(let number): (1 + 2 * number, 0)
      case .output(let number): (2 + 2 * number, 0)
      }
    return (0..<Self.rows).flatMap { row in
      (0..<location.columns).map {
        Address(space: space, index: base + row * location.stride + location.column + $0)
      }
    }
  }
}
