import Differentiation
import GraphIR
import OrderedCollections
import TensorCore
import TestSupport
import Testing

/// Every operation with a derivative, behind linear layers whose weights' gradients pass through it.
@Suite struct OperationGradientTests {
  /// An operation on `a`, `b`, `c` (12 columns each) and `s` (one column).
  struct Case: Sendable, CustomTestStringConvertible {
    var operation: GraphIR.Operation
    var operands = ["a"]
    var attributes: OrderedDictionary<String, Attribute> = [:]
    var constants: [[Int]] = []
    var results = 1
    var hasCorners: Bool { operation == .relu || operation == .clamp }
    var testDescription: String { "\(operation) \(operands) \(attributes) \(constants)" }
  }

  static let cases: [Case] = [
    Case(operation: .slice, attributes: ["start": 3, "length": 5]),
    Case(operation: .rmsNorm, attributes: ["eps": 1e-3], constants: [[12]]),
    Case(operation: .rmsNorm, attributes: ["eps": 1e-3, "offset": 1.0, "heads": 3], constants: [[4]]),
    Case(operation: .rmsNorm, attributes: ["eps": 1e-3, "heads": 3], constants: [[3, 4]]),
    Case(operation: .layerNorm, attributes: ["eps": 1e-3], constants: [[12], [12]]),
    Case(operation: .layerNorm, attributes: ["eps": 1e-3, "heads": 2], constants: [[6]]),
    Case(operation: .layerNorm, attributes: ["eps": 1e-3, "offset": 1.0], constants: [[12], [12]]),
    Case(
      operation: .rope, operands: ["a", "positions"], attributes: ["heads": 2, "head_dim": 6],
      constants: [[2]]),
    Case(
      operation: .rope, operands: ["a", "positions"],
      attributes: ["heads": 2, "head_dim": 6, "interleaved": true, "magnitude": 1.3], constants: [[3]]),
    Case(
      operation: .rope, operands: ["a", "positions"],
      attributes: ["heads": 3, "head_dim": 4, "context": 5], constants: [[2], [2]]),
    Case(
      operation: .rope, operands: ["a", "positions"],
      attributes: ["heads": 3, "head_dim": 4, "context": 5, "growth": 2.0], constants: [[2]]),
    Case(
      operation: .attention, operands: ["a", "b", "c"],
      attributes: ["heads": 3, "kv_heads": 3, "head_dim": 4, "scale": 0.7, "cache": 0]),
    Case(
      operation: .attention, operands: ["a", "d", "e"],
      attributes: ["heads": 4, "kv_heads": 2, "head_dim": 3, "scale": 0.5, "window": 4, "cache": 0]),
    Case(
      operation: .attention, operands: ["a", "d", "e"],
      attributes: ["heads": 2, "kv_heads": 1, "head_dim": 6, "scale": 1.0, "softcap": 1.5, "cache": 0]),
    Case(
      operation: .attention, operands: ["a", "b", "c"],
      attributes: ["heads": 2, "kv_heads": 2, "head_dim": 6, "scale": 0.4, "causal": false, "cache": 0],
      constants: [[2]]),
    Case(
      operation: .attention, operands: ["a", "d", "b"],
      attributes: ["heads": 4, "kv_heads": 2, "head_dim": 3, "scale": 0.5, "value_dim": 6, "cache": 0],
      constants: [[4], [4]]),
    Case(operation: .joinHeads, operands: ["a", "d"], attributes: ["heads": 3]),
    Case(operation: .joinHeads, operands: ["d", "a"], attributes: ["heads": 2, "shared": true]),
    Case(operation: .add, operands: ["a", "b"]), Case(operation: .multiply, operands: ["a", "b"]),
    Case(operation: .multiply, operands: ["a", "a"]), Case(operation: .scale, attributes: ["factor": -0.6]),
    Case(operation: .silu), Case(operation: .sigmoid), Case(operation: .swiglu, operands: ["a", "b"]),
    Case(operation: .gelu), Case(operation: .gelu, attributes: ["approximate": "tanh"]),
    Case(operation: .gelu, attributes: ["approximate": "sigmoid"]),
    Case(operation: .softcap, attributes: ["cap": 1.5]),
    Case(operation: .scaleRows, operands: ["a", "s"]),
    Case(operation: .relu), Case(operation: .hadamard, attributes: ["block": 4]),
    Case(operation: .clamp, attributes: ["minimum": -0.8, "maximum": 1.1]),
    Case(
      operation: .addRMSNorm, operands: ["a", "b"], attributes: ["eps": 1e-3], constants: [[12]], results: 2),
    Case(
      operation: .addLayerNorm, operands: ["a", "b"], attributes: ["eps": 1e-3], constants: [[12], [12]],
      results: 2),
    Case(operation: .geglu, operands: ["a", "b"]),
    Case(operation: .geglu, operands: ["a", "b"], attributes: ["approximate": "tanh"]),
  ]

  /// Experts, and what passes make for the runtime alone.
  static let refused: Set<GraphIR.Operation> = [
    .route, .expertLinear, .expertBias, .expertSum, .linearActivation, .limitedGLU, .linearGated,
    .expertGated,
    .rotaryAttention,
  ]

  /// Every definition has a case, is differentiated in all of them (linear), or is refused.
  @Test func everyOperationIsCoveredOrRefused() {
    let covered = Set(Self.cases.map(\.operation)).union(Self.refused).union([.linear, .embedding])
    #expect(covered == Set(OperationDefinition.all.map(\.operation)))
  }

  private func constant(_ name: String, _ dimensions: [Int]) -> [Float] {
    var generator = SeededGenerator(seed: name.utf8.reduce(7) { ($0 &* 31) &+ UInt64($1) })
    let count = dimensions.reduce(1, *)
    if name.hasPrefix("frequencies") { return (0..<count).map { 1 / Float(1 + 2 * $0) } }
    if name.hasPrefix("k") { return generator.normals(count).map { 1 + 0.3 * $0 } }
    return generator.normals(count).map { $0 * 0.5 }
  }

  private func graph(_ item: Case) throws -> Graph {
    var builder = GraphBuilder(name: "case")
    let positions = try builder.input("positions", .tokens)
    let x = try builder.input("x", .activations(6))
    var values = ["positions": positions]
    for (name, columns) in [("a", 12), ("b", 12), ("c", 12), ("d", 6), ("e", 6), ("s", 1)]
    where item.operands.contains(name) {
      values[name] = try builder.add(
        .linear, [.value(x), try builder.constant("w\(name)", ConstantType("f32", [columns, 6]))], name: name)
    }
    var operands = item.operands.compactMap { values[$0] }.map { Operand.value($0) }
    for (number, dimensions) in item.constants.enumerated() {
      let name = (item.operation == .rope ? "frequencies" : "k") + "\(number)"
      operands.append(try builder.constant(name, ConstantType("f32", dimensions)))
    }
    let results = try builder.add(
      item.operation, operands, attributes: item.attributes, names: (0..<item.results).map { "y\($0)" })
    return try builder.finish(outputs: results)
  }

  @Test(arguments: cases)
  func gradientsAreTheSlopes(item: Case) throws {
    let graph = try graph(item)
    for length in [1, 11] {
      var generator = SeededGenerator(seed: UInt64(length))
      var x = FloatMatrix(zeros: length, 6)
      x.values = generator.normals(x.values.count)
      let check = try GradientCheck(
        graph: graph, trained: Set(graph.constants.keys.filter { $0.hasPrefix("w") }),
        tokens: (0..<length).map { Int32($0) }, floats: ["x": x], seed: 3
      ) { constant($0, graph.constants[$0]?.dimensions ?? []) }
      let expected = try Interpreter.run(
        graph,
        inputs: [
          "x": Tensor(x.values, shape: Shape([length, 6])),
          "positions": Tensor((0..<length).map { Int32($0) }, shape: Shape([length])),
        ]
      ) {
        try Tensor(
          constant($0, graph.constants[$0]?.dimensions ?? []),
          shape: Shape(graph.constants[$0]?.dimensions ?? []))
      }
      for (found, tensor) in zip(try check.outputs(), expected) {
        for (value, reference) in zip(found.values, try tensor.floats()) {
          #expect(abs(value - reference) < 2e-5 * max(1, abs(reference)))
        }
      }
      // Differences that span a corner of a function are off: short ones seldom do.
      let deviation = try check.deviation(step: item.hasCorners ? 1e-3 : 0.02)
      let tolerance = item.hasCorners ? 0.1 : 2e-3
      #expect(deviation < tolerance, "\(item), \(length) tokens: \(deviation)")
    }
  }

  @Test func expertsAreRefusedByName() throws {
    var builder = GraphBuilder(name: "experts")
    let x = try builder.input("x", .activations(4))
    let routed = try builder.add(.route, [.value(x)], attributes: ["chosen": 2], name: "r")
    let graph = try builder.finish(outputs: [routed])
    let error = try #require(throws: DifferentiationError.self) {
      try DifferentiableGraph(graph: graph, trained: []) { _ in [] }
    }
    #expect(error.diagnostic.message.contains("route"))
  }

  @Test func inputsThatDoNotFitAreRefused() throws {
    let graph = try graph(Self.cases[0])
    let program = try DifferentiableGraph(graph: graph, trained: ["wa"]) {
      constant($0, graph.constants[$0]?.dimensions ?? [])
    }
    #expect(throws: DifferentiationError.self) { try program.run(tokens: [0, 1]) }
    #expect(throws: DifferentiationError.self) {
      try program.run(tokens: [0, 1], floats: ["x": FloatMatrix(zeros: 3, 6)])
    }
  }
}
