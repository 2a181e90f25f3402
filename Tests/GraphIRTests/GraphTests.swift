import GraphIR
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct GraphTests {
  let graph: Graph

  init() throws { graph = try Graph(parsing: SampleGraphs.decoder) }

  func value(_ name: String) throws -> ValueID { try #require(graph.value(named: name)) }

  @Test func usesAreFound() throws {
    let h0 = try value("h0")
    #expect(graph.producer(of: h0) == 0)
    #expect(graph.producer(of: try value("tokens")) == nil)
    #expect(graph.consumers(of: h0).map { graph.nodes[$0].operation } == [.rmsNorm, .add])
    #expect(graph.lastUse(of: try value("logits")) == graph.nodes.count)
    #expect(graph.lastUse(of: try value("r1")) == nil)
    let table = graph.uses
    for value in graph.values {
      #expect(table.producer(of: value) == graph.producer(of: value))
      #expect(table.consumers(of: value) == graph.consumers(of: value))
      #expect(table.lastUse(of: value) == graph.lastUse(of: value))
    }
    let dying = graph.valuesDyingAtNodes.joined().map { graph.name(of: $0) }
    #expect(Set(dying).count == dying.count)
    #expect(Set(dying) == Set(graph.values.map { graph.name(of: $0) }).subtracting(["logits"]))
  }

  @Test func blocksAreCutWhereValuesCross() throws {
    let blocks = graph.blocks
    #expect(blocks.map(\.scope) == ["layers.0", "layers.1"])
    #expect(blocks.map { $0.inputs.map { graph.name(of: $0) } } == [["h0"], ["r0"]])
    #expect(blocks.map { $0.outputs.map { graph.name(of: $0) } } == [["r0"], ["n1"]])
    #expect(blocks[0].nodes.upperBound == blocks[1].nodes.lowerBound)
  }

  @Test func linearNodesAreListed() throws {
    let linears = graph.linearNodes
    #expect(linears.count == 7)
    #expect(linears[1].weights == ["l0.k", "l0.v"])
    #expect(linears[1].scope == "layers.0.attention")
    #expect(linears[4].biases == ["l1.up_bias"])
    #expect(graph.name(of: linears[6].input) == "n1")
  }

  @Test func subgraphsRunLikeTheWhole() throws {
    let constants = SampleGraphs.constants(of: graph, seed: 3)
    let inputs = try SampleGraphs.inputs(count: 7, vocabulary: 20, seed: 4)
    let whole = try Interpreter.run(graph, inputs: inputs, constants: constants)
    var carried = inputs
    var outputs = [try value("h0")]
    var inputValues: [ValueID] = []
    for next in [["r0"], ["r1", "n1"], ["logits"]] {
      let part = try graph.subgraph(inputs: inputValues, outputs: outputs)
      try part.verify()
      #expect(try Graph(parsing: part.printed()) == part)
      let results = try Interpreter.run(part, inputs: carried, constants: constants)
      for (output, result) in zip(outputs, results) { carried[graph.name(of: output)] = result }
      inputValues = outputs
      outputs = try next.map(value)
    }
    let last = try graph.subgraph(inputs: inputValues, outputs: outputs)
    #expect(last.inputs.map { last.name(of: $0) } == ["r1", "n1"])
    #expect(last.constants.count == 1)
    let result = try Interpreter.run(last, inputs: carried, constants: constants)
    #expect(try result[0].floats() == whole[0].floats())
  }

  @Test func subgraphsKeepGraphInputsThatTheyNeed() throws {
    let part = try graph.subgraph(inputs: [try value("h0")], outputs: [try value("r0")])
    #expect(part.inputs.map { part.name(of: $0) } == ["h0", "positions"])
    #expect(throws: GraphError.self) {
      try graph.subgraph(inputs: [try value("r1")], outputs: [try value("n1")])
    }
  }

  @Test func namesAndConstantsCanBeRenamed() throws {
    var changed = graph
    try changed.rename(try value("logits"), to: "scores")
    try changed.renameConstant("l0.k", to: "key weight")
    try changed.verify()
    #expect(changed.printed().contains("[@\"key weight\", @l0.v]"))
    #expect(changed != graph)
    try changed.rename(try value("logits"), to: "logits")
    try changed.renameConstant("key weight", to: "l0.k")
    #expect(changed == graph)
    #expect(throws: GraphError.self) { try changed.rename(try value("h0"), to: "r0") }
    #expect(throws: GraphError.self) { try changed.renameConstant("l0.k", to: "l0.v") }
  }

  @Test func theVerifierFindsEveryKindOfDamage() throws {
    var damages: [(String, (inout Graph) throws -> Void)] = []
    damages.append(("order", { $0.nodes.swapAt(0, 1) }))
    damages.append(("missing constant", { $0.constants["embed"] = nil }))
    damages.append(("wrong constant", { $0.constants["l0.q"] = ConstantType("f32", [8, 9]) }))
    damages.append(("negative extent", { $0.constants["l0.q"] = ConstantType("f32", [-8, 8]) }))
    damages.append(("unknown operation", { $0.nodes[2].operation = Operation(rawValue: "nothing") }))
    damages.append(("wrong type", { $0.nodes[2].operation = .silu }))
    damages.append(("scope", { $0.nodes[2].scope = "a..b" }))
    damages.append(("reserved scope", { $0.nodes[2].scope = "return" }))
    damages.append(("deep scope", { $0.nodes[2].scope = String(repeating: "a.", count: 20) + "a" }))
    damages.append(("no output", { $0.outputs = [] }))
    damages.append(("made twice", { $0.nodes.insert($0.nodes[0], at: 1) }))
    damages.append(("made by nothing", { $0.nodes.removeLast() }))
    damages.append(("attribute", { $0.nodes[1].attributes["eps"] = nil }))
    damages.append(("unknown attribute", { $0.nodes[1].attributes["epsilon"] = .float(1) }))
    damages.append(("default attribute", { $0.nodes[6].attributes["magnitude"] = .float(1) }))
    damages.append(("attribute kind", { $0.nodes[1].attributes["eps"] = .bool(true) }))
    damages.append(("integer for a real number", { $0.nodes[1].attributes["eps"] = .int(1) }))
    damages.append(("operand kind", { $0.nodes[2].operands[1] = $0.nodes[2].operands[0] }))
    damages.append(("operand count", { $0.nodes[2].operands.removeLast() }))
    damages.append(("single concatenation", { $0.nodes[2].operands[1] = .concatenation(["l0.q"]) }))
    damages.append(("foreign value", { $0.outputs = [ValueID.outside] }))
    for (name, damage) in damages {
      var damaged = graph
      try damage(&damaged)
      #expect(throws: GraphError.self, "\(name)") { try damaged.verify() }
    }
  }

  @Test func editingKeepsNamesUnique() throws {
    var edited = graph
    let h0 = try value("h0")
    let doubled = try edited.insert(
      .scale, [.value(h0)], attributes: ["factor": 2.0], names: ["h0"], at: 1)[0]
    #expect(edited.name(of: doubled) == "h0_1")
    edited.replaceUses(of: try value("n0"), with: doubled)
    edited.removeNodes(at: [2])
    #expect(edited.removeUnusedConstants() == ["l0.norm"])
    try edited.verify()
    #expect(edited.value(named: "n0") == nil)
  }

  @Test func manyReplacementsFollowEachOther() throws {
    var edited = graph
    let (q, s, u) = (try value("g1"), try value("s1"), try value("u1"))
    edited.replaceUses([s: u, u: q])
    #expect(edited.nodes[14].operands == [.value(q), .value(q)])
  }
}

extension ValueID {
  /// A value that is certainly not in the sample graph.
  static var outside: ValueID {
    var builder = GraphBuilder(name: "other")
    var last: ValueID?
    for index in 0..<200 { last = try? builder.input("x\(index)", .tokens) }
    return last ?? { preconditionFailure("inputs cannot be declared") }()
  }
}
