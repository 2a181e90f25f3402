import GraphIR
import GraphPasses
import OrderedCollections
import TensorCore
import TestSupport

/// Runs graphs on seeded random inputs and constants.
enum Evaluation {
  static let tokenCount = 5

  /// The bits of all outputs; NaN of any kind is one.
  static func outputs(of graph: Graph, seed: UInt64) throws -> [[UInt32]] {
    try values(of: graph, seed: seed).map { $0.map { $0.isNaN ? UInt32.max : $0.bitPattern } }
  }

  /// The largest difference of two graphs' outputs, in standard deviations of the output in which it is.
  static func deviation(_ found: [[Float]], _ expected: [[Float]]) -> Double {
    var worst = 0.0
    for (a, b) in zip(found, expected) {
      let mean = b.reduce(0.0) { $0 + Double($1) } / Double(b.count)
      let squares = b.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(b.count)
      for (x, y) in zip(a, b) where x != y && !(x.isNaN && y.isNaN) {
        let difference = abs(Double(x) - Double(y)) / squares.squareRoot()
        worst = max(worst, difference.isFinite ? difference : .infinity)
      }
    }
    return worst
  }

  /// All outputs.
  /// - Parameters:
  ///   - folds: constants that passes made.
  ///   - original: the graph whose constants the folds are made of; the same one when nil.
  static func values(
    of graph: Graph, seed: UInt64, folds: FoldedConstants = .init(), original: Graph? = nil
  ) throws -> [[Float]] {
    let source = original ?? graph
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
    func constant(_ name: String) throws -> Tensor {
      let shape = try Shape(source.constants[name]?.dimensions ?? [])
      var constants = SeededGenerator(seed: name.utf8.reduce(seed) { ($0 &* 31) &+ UInt64($1) })
      return try Tensor(constants.normals(shape.elementCount), shape: shape)
    }
    let results = try Interpreter.run(graph, inputs: inputs) { name in
      try folds.tensor(name, constant: constant) ?? constant(name)
    }
    return try results.map { try $0.floats() }
  }
}

/// Grows random graphs that are rich in what passes look for.
struct RandomGraph {
  private var generator: SeededGenerator
  private var builder = GraphBuilder(name: "random")
  private var pool: [ValueID] = []
  private let positions: ValueID
  private var constantCount = 0
  private var freshCount = 0
  private var cacheCount = 0

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
    switch Int.random(in: 0..<28, using: &generator) {
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
        try builder.add(
          .rmsNorm, [.value(x), try fresh([width])],
          attributes: ["eps": 1e-5, "offset": Bool.random(using: &generator) ? 1.0 : 0.0], name: "n"))
    case 9:
      let start = Int.random(in: 0...1, using: &generator) * width / 4
      pool.append(
        try builder.add(
          .slice, [.value(x)], attributes: ["start": .int(start), "length": .int(width - start)], name: "c"))
    case 10:
      let factor: Attribute = [1.0, 0.5, 0.7].randomElement(using: &generator) ?? 1.0
      var scaled = try builder.add(.scale, [.value(x)], attributes: ["factor": factor], name: "f")
      if Bool.random(using: &generator) {
        scaled = try builder.add(.scale, [.value(scaled)], attributes: ["factor": 0.25], name: "f")
      }
      pool.append(scaled)
    case 11:
      let operations: [GraphIR.Operation] =
        width.isMultiple(of: 2) ? [.relu, .sigmoid, .hadamard] : [.relu, .sigmoid]
      let operation = operations.randomElement(using: &generator) ?? .relu
      let block = Attribute.int(width & -width)
      pool.append(
        try builder.add(
          operation, [.value(x)], attributes: operation == .hadamard ? ["block": block] : [:], name: "w"))
    case 12:
      let kind = ["none", "tanh", "sigmoid"].randomElement(using: &generator) ?? "none"
      let open = try builder.add(
        .gelu, [.value(x)], attributes: ["approximate": .string(kind)], name: "g")
      pool.append(open)
      pool.append(try builder.add(.multiply, [.value(open), .value(pick(like: x))], name: "m"))
    case 13:
      let shift = Bool.random(using: &generator) ? [try fresh([width])] : []
      pool.append(
        try builder.add(
          .layerNorm, [.value(x), try fresh([width])] + shift,
          attributes: ["eps": 1e-5, "offset": Bool.random(using: &generator) ? 1.0 : 0.0], name: "n"))
    case 14: try attend(x, width)
    case 15:
      let inner = try builder.add(.linear, [.value(x), try fresh([6, width])], name: "l")
      let bias = Bool.random(using: &generator) ? [try fresh([8])] : []
      pool.append(try builder.add(.linear, [.value(inner), try fresh([8, 6])] + bias, name: "l"))
    case 16:
      let normal = try builder.add(
        .rmsNorm, [.value(x), try fresh([width])], attributes: ["eps": 1e-5], name: "n")
      pool.append(try builder.add(.linear, [.value(normal), try fresh([8, width])], name: "l"))
    case 18: try gate(x, width)
    case 19: try limit(x, pick(like: x))
    case 20: try mix(x, width)
    case 21, 22: try turn(x, width)
    case 23, 24: try join(x, pick())
    case 25, 26: try bound(x)
    case 17:
      let clamped = try builder.add(
        .clamp, [.value(x)], attributes: ["minimum": -1.5, "maximum": 0.5], name: "b")
      pool.append(
        try builder.add(.clamp, [.value(clamped)], attributes: ["minimum": -0.5, "maximum": 2.0], name: "b"))
    default:
      if width % 4 != 0 { return }
      pool.append(
        try builder.add(
          .rope, [.value(x), .value(positions), try constant([2])],
          attributes: ["heads": .int(width / 4), "head_dim": 4], name: "r"))
    }
  }

  /// A constant that nothing else uses.
  private mutating func fresh(_ dimensions: [Int]) throws -> Operand {
    freshCount += 1
    return try builder.constant("d\(freshCount)", ConstantType("f32", dimensions))
  }

  /// Two values beside each other, parts of that, and neighbouring parts beside each other again.
  private mutating func join(_ x: ValueID, _ y: ValueID) throws {
    func part(_ whole: ValueID, _ start: Int, _ length: Int) throws -> ValueID {
      try builder.add(
        .slice, [.value(whole)], attributes: ["start": .int(start), "length": .int(length)], name: "c")
    }
    func joined(_ a: ValueID, _ b: ValueID) throws -> ValueID {
      let heads =
        columns(a) % 2 == 0 && columns(b) % 2 == 0 ? [1, 1, 2].randomElement(using: &generator) ?? 1 : 1
      return try builder.add(
        .joinHeads, [.value(a), .value(b)], attributes: ["heads": .int(heads)], name: "h")
    }
    let whole = try joined(x, y)
    let (first, second) = (columns(x), columns(y))
    switch Int.random(in: 0..<4, using: &generator) {
    case 0: pool.append(try part(whole, 0, first))
    case 1: pool.append(try part(whole, first, second))
    case 2: pool.append(try part(whole, Int.random(in: 0...first, using: &generator), min(4, second)))
    default:
      let middle = Int.random(in: 1..<first, using: &generator)
      pool.append(try joined(part(x, 0, middle), part(x, middle, first - middle)))
    }
  }

  /// Limits of what has limits already.
  private mutating func bound(_ x: ValueID) throws {
    let inner: GraphIR.Operation = [.relu, .sigmoid].randomElement(using: &generator) ?? .relu
    let limited = try builder.add(inner, [.value(x)], name: "w")
    let clamped: OrderedDictionary<String, Attribute> = ["minimum": 0.0, "maximum": 1.0]
    pool.append(
      Bool.random(using: &generator)
        ? try builder.add(.relu, [.value(limited)], name: "w")
        : try builder.add(.clamp, [.value(limited)], attributes: clamped, name: "b"))
  }

  /// A product of gates and factors that a projection makes, perhaps read elsewhere as well.
  private mutating func gate(_ x: ValueID, _ width: Int) throws {
    let both = try builder.add(.linear, [.value(x), try fresh([8, width])], name: "gu")
    let parts = try [0, 4].map { start in
      try builder.add(
        .slice, [.value(both)], attributes: ["start": .int(start), "length": 4], name: "c")
    }
    let open = try builder.add(.silu, [.value(parts[0])], name: "s")
    pool.append(try builder.add(.multiply, [.value(open), .value(parts[1])], name: "m"))
    if Int.random(in: 0..<4, using: &generator) == 0 { pool.append(parts[1]) }
  }

  private mutating func limit(_ gate: ValueID, _ up: ValueID) throws {
    let lowest = Attribute.float(-Double(Float.greatestFiniteMagnitude))
    let below = try builder.add(
      .clamp, [.value(gate)], attributes: ["minimum": lowest, "maximum": 0.75], name: "b")
    let within = try builder.add(
      .clamp, [.value(up)], attributes: ["minimum": -0.75, "maximum": 0.75], name: "b")
    let open = try builder.add(.gelu, [.value(below)], attributes: ["approximate": "sigmoid"], name: "g")
    let product = try builder.add(.multiply, [.value(within), .value(open)], name: "m")
    pool.append(try builder.add(.add, [.value(product), .value(open)], name: "a"))
    if Int.random(in: 0..<4, using: &generator) == 0 { pool.append(open) }
  }

  /// Experts with gates, some with biases.
  private mutating func mix(_ x: ValueID, _ width: Int) throws {
    let logits = try builder.add(.linear, [.value(x), try fresh([2, width])], name: "k")
    let routing = try builder.add(.route, [.value(logits)], attributes: ["chosen": 1], name: "k")
    let chosen: OrderedDictionary<String, Attribute> = ["chosen": 1]
    let hasBias = Bool.random(using: &generator)
    let sides = try (0..<2).map { _ in
      let matrices = Operand.concatenation(try (0..<2).flatMap { _ in try fresh([4, width]).constants })
      let product = try builder.add(
        .expertLinear, [.value(x), .value(routing), matrices], attributes: chosen, name: "e")
      guard hasBias else { return product }
      let biases = Operand.concatenation(try (0..<2).flatMap { _ in try fresh([4]).constants })
      return try builder.add(
        .expertBias, [.value(product), .value(routing), biases], attributes: chosen, name: "e")
    }
    let open = try builder.add(.silu, [.value(sides[0])], name: "s")
    let product = try builder.add(.multiply, [.value(open), .value(sides[1])], name: "m")
    pool.append(
      try builder.add(.expertSum, [.value(product), .value(routing)], attributes: chosen, name: "e"))
  }

  /// Attention whose queries and keys are turned.
  private mutating func turn(_ x: ValueID, _ width: Int) throws {
    guard width % 4 == 0 else { return }
    let frequencies = try builder.constant("c.2.f32", ConstantType("f32", [2]))
    let key = try builder.add(.linear, [.value(x), try fresh([4, width])], name: "k")
    let heads = [width / 4, 1]
    let turned = try zip([x, key], heads).map { value, heads in
      try builder.add(
        .rope, [.value(value), .value(positions), frequencies],
        attributes: ["heads": .int(heads), "head_dim": 4, "magnitude": 1.5], name: "r")
    }
    let extras = try (0..<Int.random(in: 0...2, using: &generator)).map { _ in try fresh([width / 4]) }
    pool.append(
      try builder.add(
        .attention, turned.map { .value($0) } + [.value(key)] + extras,
        attributes: [
          "heads": .int(width / 4), "kv_heads": 1, "head_dim": 4, "scale": 0.5, "cache": .int(cacheCount),
        ], name: "o"))
    cacheCount += 1
  }

  /// Queries, keys and values of one projection, or of three, rotated, with a scale on the queries.
  private mutating func attend(_ x: ValueID, _ width: Int) throws {
    let whole = try builder.add(.linear, [.value(x), try fresh([16, width])], name: "qkv")
    func part(_ start: Int, _ length: Int) throws -> ValueID {
      try builder.add(
        .slice, [.value(whole)], attributes: ["start": .int(start), "length": .int(length)], name: "c")
    }
    let (q, k, v) = (try part(0, 8), try part(8, 4), try part(12, 4))
    let frequencies = try builder.constant("c.2.f32", ConstantType("f32", [2]))
    func turned(_ value: ValueID, _ heads: Int) throws -> ValueID {
      try builder.add(
        .rope, [.value(value), .value(positions), frequencies],
        attributes: ["heads": .int(heads), "head_dim": 4],
        name: "r")
    }
    var qr = try turned(q, 2)
    let kr = try turned(k, 1)
    if Bool.random(using: &generator) {
      qr = try builder.add(.scale, [.value(qr)], attributes: ["factor": 0.3], name: "f")
    }
    if Bool.random(using: &generator) { pool.append(kr) }
    pool.append(
      try builder.add(
        .attention, [.value(qr), .value(kr), .value(v)],
        attributes: [
          "heads": 2, "kv_heads": 1, "head_dim": 4, "scale": 0.5, "cache": .int(cacheCount),
        ], name: "o"))
    cacheCount += 1
  }
}
