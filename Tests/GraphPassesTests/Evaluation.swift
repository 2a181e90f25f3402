import GraphIR
import OrderedCollections
import TensorCore
import TestSupport

/// Runs graphs on seeded random inputs and constants.
enum Evaluation {
  static let tokenCount = 5

  /// The bits of all outputs; NaN of any kind is one.
  static func outputs(of graph: Graph, seed: UInt64) throws -> [[UInt32]] {
    var generator = SeededGenerator(seed: seed)
    var inputs: [String: Tensor] = [:]
    for input in graph.inputs {
      let type = graph.type(of: input)
      let shape = try Shape(type.dimensions.map { $0.extent ?? tokenCount })
      switch type.element {
      case .f32:
        inputs[graph.name(of: input)] = try Tensor(generator.normals(shape.elementCount), shape: shape)
      case .i32:
        inputs[graph.name(of: input)] = try Tensor(
          (0..<shape.elementCount).map { Int32($0 % 5) }, shape: shape)
      }
    }
    let results = try Interpreter.run(graph, inputs: inputs) { name in
      let shape = try Shape(graph.constants[name]?.dimensions ?? [])
      var constants = SeededGenerator(seed: name.utf8.reduce(seed) { ($0 &* 31) &+ UInt64($1) })
      return try Tensor(constants.normals(shape.elementCount), shape: shape)
    }
    return try results.map { tensor in
      try tensor.floats().map { $0.isNaN ? UInt32.max : $0.bitPattern }
    }
  }
}

/// Grows random graphs that are rich in what passes look for.
struct RandomGraph {
  private var generator: SeededGenerator
  private var builder = GraphBuilder(name: "random")
  private var pool: [ValueID] = []
  private let positions: ValueID
  private var constantCount = 0

  init(seed: UInt64, nodeCount: Int) throws {
    generator = SeededGenerator(seed: seed)
    positions = try builder.input("positions", .tokens)
    for columns in [4, 4, 8] { pool.append(try builder.input("x\(pool.count)", .activations(columns))) }
    for index in 0..<nodeCount {
      if index == nodeCount / 3 { builder.openScope("layers.0") }
      if index == 2 * nodeCount / 3 { builder.closeScope() }
      try grow()
    }
    builder.closeScope()
  }

  /// The graph with one to three outputs.
  mutating func finish() throws -> Graph {
    let outputs = (0..<Int.random(in: 1...3, using: &generator)).map { _ in pick() }
    return try builder.finish(outputs: outputs)
  }

  private mutating func pick() -> ValueID { pool[Int.random(in: 0..<pool.count, using: &generator)] }

  private func columns(_ value: ValueID) -> Int { builder.type(of: value).columns ?? 0 }

  private mutating func pick(like value: ValueID) -> ValueID {
    let same = pool.filter { builder.type(of: $0) == builder.type(of: value) }
    return same[Int.random(in: 0..<same.count, using: &generator)]
  }

  /// A constant, often one that there is.
  private mutating func constant(_ dimensions: [Int], encoding: String = "f32") throws -> Operand {
    constantCount = min(constantCount + 1, 3)
    let name =
      "c\(Int.random(in: 0..<constantCount, using: &generator)).\(dimensions.map(String.init).joined(separator: "x"))"
    return try builder.constant("\(name).\(encoding)", ConstantType(encoding, dimensions))
  }

  private mutating func grow() throws {
    let x = pick()
    let width = columns(x)
    switch Int.random(in: 0..<12, using: &generator) {
    case 0, 1, 2:
      let rows = [4, 8, 12].randomElement(using: &generator) ?? 4
      let encoding = Int.random(in: 0..<4, using: &generator) == 0 ? "bf16" : "f32"
      var operands = [Operand.value(x), try constant([rows, width], encoding: encoding)]
      if Int.random(in: 0..<3, using: &generator) == 0 { operands.append(try constant([rows])) }
      pool.append(try builder.add(.linear, operands, name: "l"))
    case 3: pool.append(try builder.add(.silu, [.value(x)], name: "s"))
    case 4, 5: pool.append(try builder.add(.multiply, [.value(x), .value(pick(like: x))], name: "m"))
    case 6, 7: pool.append(try builder.add(.add, [.value(x), .value(pick(like: x))], name: "a"))
    case 8:
      pool.append(
        try builder.add(.rmsNorm, [.value(x), try constant([width])], attributes: ["eps": 1e-5], name: "n"))
    case 9:
      let start = Int.random(in: 0...1, using: &generator) * width / 4
      pool.append(
        try builder.add(
          .slice, [.value(x)], attributes: ["start": .int(start), "length": .int(width - start)], name: "c"))
    case 10:
      let factor: Attribute = Bool.random(using: &generator) ? 1.0 : 0.5
      pool.append(try builder.add(.scale, [.value(x)], attributes: ["factor": factor], name: "f"))
    default:
      if width % 4 != 0 { return }
      pool.append(
        try builder.add(
          .rope, [.value(x), .value(positions), try constant([2])],
          attributes: ["heads": .int(width / 4), "head_dim": 4], name: "r"))
    }
  }
}
