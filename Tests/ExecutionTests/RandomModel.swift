import Codecs
import Execution
import GraphIR
import OrderedCollections
import TensorCore
import TestSupport

/// A graph with weights that follow from their names, run by the interpreter or the executor.
struct TestModel {
  let graph: Graph
  var seed: UInt64 = 0

  /// Normal numbers, divided by the root of the columns so that values stay of order one; frequencies fall from 1.
  func constant(_ name: String) throws -> Tensor {
    let shape = try Shape(graph.constants[name]?.dimensions ?? [])
    if name.hasPrefix("frequencies") {
      return try Tensor((0..<shape.elementCount).map { 1 / Float(1 + 3 * $0) }, shape: shape)
    }
    var generator = SeededGenerator(seed: name.utf8.reduce(seed) { ($0 &* 31) &+ UInt64($1) })
    let factor = 1 / Float(shape.rank == 2 ? max(shape.columns, 1) : 1).squareRoot()
    return try Tensor(generator.normals(shape.elementCount).map { $0 * factor }, shape: shape)
  }

  func program(_ options: ExecutionOptions = .reference) throws -> Program {
    try Program(graph: graph, options: options) { .dense(try constant($0)) }
  }

  /// Outputs of the interpreter, row-major.
  func interpreted(tokens: [Int32], floats: [String: [Float]] = [:]) throws -> [[Float]] {
    var inputs: [String: Tensor] = [:]
    for input in graph.inputs {
      let name = graph.name(of: input)
      if let columns = graph.type(of: input).columns {
        inputs[name] = try Tensor(floats[name] ?? [], shape: Shape([tokens.count, columns]))
      } else {
        let values = name == "positions" ? tokens.indices.map { Int32($0) } : tokens
        inputs[name] = try Tensor(values, shape: Shape([tokens.count]))
      }
    }
    return try Interpreter.run(graph, inputs: inputs) { try constant($0) }.map { try $0.floats() }
  }
}

/// Grows random graphs over every operation that the executor has.
struct RandomGraph {
  static let vocabulary = 11
  private var generator: SeededGenerator
  private var builder = GraphBuilder(name: "random")
  private var pool: [ValueID] = []
  private let tokens: ValueID
  private let positions: ValueID
  private var cacheCount = 0
  private var constantCount = 0
  /// Whether rotations depend on the length of the sequence, so that pieces differ from the whole.
  private let longRotations: Bool

  /// - Parameter floatInputs: columns of float inputs, named x0, x1, ...
  init(seed: UInt64, nodeCount: Int, floatInputs: [Int] = [], longRotations: Bool = false) throws {
    self.longRotations = longRotations
    generator = SeededGenerator(seed: seed)
    tokens = try builder.input("tokens", .tokens)
    positions = try builder.input("positions", .tokens)
    for (index, columns) in floatInputs.enumerated() {
      pool.append(try builder.input("x\(index)", .activations(columns)))
    }
    for width in [16, 16, 32] {
      pool.append(
        try builder.add(.embedding, [.value(tokens), constant([Self.vocabulary, width])], name: "e"))
    }
    for _ in 0..<nodeCount { try grow() }
  }

  /// The graph, returning random values; inputs and repetitions occur.
  mutating func finish(outputCount: Int) throws -> Graph {
    var outputs = (0..<outputCount).map { _ in pick() }
    if outputCount == 1, let last = pool.last { outputs = [last] }
    return try builder.finish(outputs: outputs)
  }

  private mutating func pick() -> ValueID { pool[Int.random(in: 0..<pool.count, using: &generator)] }

  private mutating func pick(columns: Int) -> ValueID? {
    pool.filter { builder.type(of: $0).columns == columns }.randomElement(using: &generator)
  }

  private mutating func constant(_ dimensions: [Int], prefix: String = "w") throws -> Operand {
    constantCount += 1
    return try builder.constant("\(prefix)\(constantCount)", ConstantType("f32", dimensions))
  }

  private mutating func grow() throws {
    let x = pick()
    let width = builder.type(of: x).columns ?? 0
    let same = pick(columns: width) ?? x
    let norm = OrderedDictionary<String, Attribute>(uniqueKeysWithValues: [("eps", .float(1e-5))])
    switch Int.random(in: 0..<30, using: &generator) {
    case 0, 1:
      let rows = [16, 32, 48].randomElement(using: &generator) ?? 16
      let bias = Bool.random(using: &generator) ? [try constant([rows])] : []
      pool.append(try builder.add(.linear, [.value(x), try constant([rows, width])] + bias, name: "l"))
    case 2:
      pool.append(try builder.add(.rmsNorm, [.value(x), constant([width])], attributes: norm, name: "n"))
    case 3, 4: pool.append(try builder.add(.add, [.value(x), .value(same)], name: "a"))
    case 5: try multiply(x, same, width)
    case 6: pool.append(try builder.add(.scale, [.value(x)], attributes: ["factor": 0.5], name: "c"))
    case 7: pool.append(try builder.add(.silu, [.value(x)], name: "s"))
    case 8:
      let kind = Bool.random(using: &generator) ? "tanh" : "none"
      pool.append(try builder.add(.gelu, [.value(x)], attributes: ["approximate": .string(kind)], name: "g"))
    case 9: pool.append(try builder.add(.softcap, [.value(x)], attributes: ["cap": 2.0], name: "t"))
    case 10, 11: try slice(x, width)
    case 12: pool.append(try builder.add(.swiglu, [.value(x), .value(same)], name: "u"))
    case 13:
      pool += try builder.add(
        .addRMSNorm, [.value(x), .value(same), constant([width])], attributes: norm, names: ["p", "q"])
    case 14: try normalize(x, width)
    case 15:
      let operation = [Operation.relu, .sigmoid].randomElement(using: &generator) ?? .relu
      pool.append(try builder.add(operation, [.value(x)], name: "w"))
    case 16:
      pool.append(
        try builder.add(.clamp, [.value(x)], attributes: ["minimum": -0.7, "maximum": 1.1], name: "b"))
    case 17: try scaleRows(x, width)
    case 18, 19: try mix(x, width)
    case 20: try place(width)
    case 21: try join(x, same)
    case 22:
      let kind = ["none", "tanh", "sigmoid"].randomElement(using: &generator) ?? "none"
      let open = try builder.add(.gelu, [.value(x)], attributes: ["approximate": .string(kind)], name: "g")
      let product = try builder.add(.multiply, [.value(open), .value(same)], name: "m")
      pool.append(try builder.add(.softcap, [.value(product)], attributes: ["cap": 4.0], name: "t"))
    case 23:
      let sum = try builder.add(.add, [.value(x), .value(same)], name: "a")
      let shift = Bool.random(using: &generator) ? [try constant([width])] : []
      pool.append(sum)
      pool.append(
        try builder.add(
          .layerNorm, [.value(sum), try constant([width])] + shift, attributes: norm, name: "n"))
    case 24: try gate(x, width)
    case 25: pool.append(try limited(x, same))
    case 26:
      let block = width & -width
      guard block > 1 else { return }
      pool.append(try builder.add(.hadamard, [.value(x)], attributes: ["block": .int(block)], name: "h"))
    default: try attend(x, width)
    }
  }

  /// Gates and factors of one projection, of which 16 rows or 5 are one half.
  private mutating func gate(_ x: ValueID, _ width: Int) throws {
    let inner = [5, 16, 48].randomElement(using: &generator) ?? 16
    let bias = Bool.random(using: &generator) ? [try constant([2 * inner])] : []
    let both = try builder.add(
      .linear, [.value(x), try constant([2 * inner, width])] + bias, name: "gu")
    let parts = try [0, inner].map { start in
      try builder.add(
        .slice, [.value(both)], attributes: ["start": .int(start), "length": .int(inner)], name: "v")
    }
    let product = try gated(parts[0], parts[1])
    pool.append(
      try builder.add(.linear, [.value(product), try constant([16, inner])], name: "d"))
  }

  private mutating func gated(_ gate: ValueID, _ up: ValueID) throws -> ValueID {
    switch Int.random(in: 0..<3, using: &generator) {
    case 0: return try limited(gate, up)
    case 1:
      let open = try builder.add(.silu, [.value(gate)], name: "s")
      return try builder.add(.multiply, [.value(open), .value(up)], name: "m")
    default:
      let open = try builder.add(.gelu, [.value(gate)], attributes: ["approximate": "tanh"], name: "g")
      return try builder.add(.multiply, [.value(open), .value(up)], name: "m")
    }
  }

  private mutating func limited(_ gate: ValueID, _ up: ValueID) throws -> ValueID {
    let lowest = Attribute.float(-Double(Float.greatestFiniteMagnitude))
    let below = try builder.add(
      .clamp, [.value(gate)], attributes: ["minimum": lowest, "maximum": 0.75], name: "b")
    let within = try builder.add(
      .clamp, [.value(up)], attributes: ["minimum": -0.75, "maximum": 0.75], name: "b")
    let open = try builder.add(.gelu, [.value(below)], attributes: ["approximate": "sigmoid"], name: "g")
    let product = try builder.add(.multiply, [.value(open), .value(within)], name: "m")
    return try builder.add(.add, [.value(product), .value(open)], name: "a")
  }

  /// Norms of heads, with gains shared or of their own.
  private mutating func normalize(_ x: ValueID, _ width: Int) throws {
    let heads = [1, 2].randomElement(using: &generator) ?? 1
    let shape = heads == 1 || Bool.random(using: &generator) ? [width / heads] : [heads, width / heads]
    if Bool.random(using: &generator) {
      let offset: Attribute = Bool.random(using: &generator) ? 1.0 : 0.0
      let bias = Bool.random(using: &generator) ? [try constant(shape)] : []
      pool.append(
        try builder.add(
          .layerNorm, [.value(x), try constant(shape)] + bias,
          attributes: ["eps": 0.001, "heads": .int(heads), "offset": offset], name: "n"))
    } else {
      pool.append(
        try builder.add(
          .rmsNorm, [.value(x), try constant(shape)],
          attributes: ["eps": 0.001, "heads": .int(heads), "offset": 1.0], name: "n"))
    }
  }

  private mutating func scaleRows(_ x: ValueID, _ width: Int) throws {
    let logit = try builder.add(.linear, [.value(x), try constant([1, width])], name: "j")
    let factor = try builder.add(.sigmoid, [.value(logit)], name: "j")
    pool.append(try builder.add(.scaleRows, [.value(x), .value(factor)], name: "j"))
  }

  /// A mixture of experts.
  private mutating func mix(_ x: ValueID, _ width: Int) throws {
    let count = 4
    let chosen = Int.random(in: 1...3, using: &generator)
    let logits = try builder.add(.linear, [.value(x), try constant([count, width])], name: "k")
    let isGrouped = chosen < 3 && Bool.random(using: &generator)
    let bias = Bool.random(using: &generator) ? [try constant([count])] : []
    let routing = try builder.add(
      .route, [.value(logits)] + bias,
      attributes: [
        "chosen": .int(chosen), "normalized": .bool(Bool.random(using: &generator)),
        "scores": .string(Bool.random(using: &generator) ? "softmax" : "sigmoid"), "factor": 1.5,
        "groups": .int(isGrouped ? 2 : 1), "group_top": .int(isGrouped ? 2 : 1),
      ], name: "k")
    let inner = [5, 16].randomElement(using: &generator) ?? 5
    let up = try experts(count, inner, width)
    let down = try experts(count, width, inner)
    let attributes: OrderedDictionary<String, Attribute> = ["chosen": .int(chosen)]
    let hasBias = Bool.random(using: &generator)
    func side(_ weight: Operand) throws -> ValueID {
      let product = try builder.add(
        .expertLinear, [.value(x), .value(routing), weight], attributes: attributes, name: "e")
      guard hasBias else { return product }
      let biases = Operand.concatenation(try (0..<count).flatMap { _ in try constant([inner]).constants })
      return try builder.add(
        .expertBias, [.value(product), .value(routing), biases], attributes: attributes, name: "e")
    }
    let first = try side(up)
    let isGated = Bool.random(using: &generator)
    let active =
      isGated
      ? try gated(first, side(try experts(count, inner, width)))
      : try builder.add(.silu, [.value(first)], name: "e")
    let second = try builder.add(
      .expertLinear, [.value(active), .value(routing), down], attributes: attributes, name: "e")
    pool.append(
      try builder.add(.expertSum, [.value(second), .value(routing)], attributes: attributes, name: "e"))
  }

  private mutating func experts(_ count: Int, _ rows: Int, _ columns: Int) throws -> Operand {
    .concatenation(try (0..<count).flatMap { _ in try constant([rows, columns]).constants })
  }

  /// Learned positions.
  private mutating func place(_ width: Int) throws {
    pool.append(
      try builder.add(
        .embedding, [.value(positions), constant([80, width])], attributes: ["offset": 2], name: "z"))
  }

  /// A product, brought back to order one.
  private mutating func multiply(_ a: ValueID, _ b: ValueID, _ width: Int) throws {
    let product = try builder.add(.multiply, [.value(a), .value(b)], name: "m")
    pool.append(try builder.add(.softcap, [.value(product)], attributes: ["cap": 4.0], name: "t"))
  }

  private mutating func slice(_ x: ValueID, _ width: Int) throws {
    guard width > 16 else { return }
    let start = Int.random(in: 0...(width - 16) / 8, using: &generator) * 8
    pool.append(
      try builder.add(.slice, [.value(x)], attributes: ["start": .int(start), "length": 16], name: "v"))
  }

  /// Heads of two parts, cut back to a usual width.
  private mutating func join(_ x: ValueID, _ y: ValueID) throws {
    let isShared = Bool.random(using: &generator)
    let joined = try builder.add(
      .joinHeads, [.value(x), .value(y)], attributes: ["heads": 2, "shared": .bool(isShared)], name: "h")
    pool.append(
      try builder.add(.slice, [.value(joined)], attributes: ["start": 8, "length": 16], name: "v"))
  }

  private mutating func attend(_ x: ValueID, _ width: Int) throws {
    let valueWidth = [16, 16, 32].randomElement(using: &generator) ?? 16
    guard width % 8 == 0, let key = pick(columns: 16), let value = pick(columns: valueWidth) else { return }
    let heads = width / 8
    guard heads % 2 == 0 else { return }
    let isAlike = Bool.random(using: &generator)
    let turned = try rotated(x, heads)
    let turnedKey = isAlike ? try rotatedLast(key, 2) : try rotated(key, 2)
    let extras = Int.random(in: 0...2, using: &generator)
    let slopes = try (0..<extras).map { _ in try constant([heads]) }
    pool.append(
      try builder.add(
        .attention, [.value(turned), .value(turnedKey), .value(value)] + slopes,
        attributes: [
          "heads": .int(heads), "kv_heads": 2, "head_dim": 8, "scale": 0.35,
          "value_dim": .int(valueWidth / 2),
          "window": .int([0, 0, 3].randomElement(using: &generator) ?? 0),
          "softcap": [0.0, 0.0, 5.0].randomElement(using: &generator).map { .float($0) } ?? .float(0),
          "cache": .int(cacheCount),
        ], name: "o"))
    if valueWidth == 32, let last = pool.popLast() {
      pool.append(
        try builder.add(.slice, [.value(last)], attributes: ["start": 8, "length": 16], name: "v"))
    }
    cacheCount += 1
  }

  /// Operands and attributes of the last rotation.
  private var lastRotation: ([Operand], OrderedDictionary<String, Attribute>)?

  /// The same rotation of other heads.
  private mutating func rotatedLast(_ x: ValueID, _ heads: Int) throws -> ValueID {
    guard var (operands, attributes) = lastRotation else { return x }
    operands[0] = .value(x)
    attributes["heads"] = .int(heads)
    return try builder.add(.rope, operands, attributes: attributes, name: "r")
  }

  private mutating func rotated(_ x: ValueID, _ heads: Int) throws -> ValueID {
    let pairs = Int.random(in: 1...4, using: &generator)
    let isLong = longRotations && Bool.random(using: &generator)
    let isGrowing = longRotations && !isLong && pairs > 1 && Bool.random(using: &generator)
    let long = isLong ? [try constant([pairs], prefix: "frequencies")] : []
    let operands = [.value(x), .value(positions), try constant([pairs], prefix: "frequencies")] + long
    let attributes: OrderedDictionary<String, Attribute> = [
      "context": isLong || isGrowing ? 5 : 0, "growth": .float(isGrowing ? 2 : 0),
      "heads": .int(heads), "head_dim": 8, "interleaved": .bool(Bool.random(using: &generator)),
      "magnitude": .float([1, 1.25].randomElement(using: &generator) ?? 1),
    ]
    lastRotation = (operands, attributes)
    return try builder.add(.rope, operands, attributes: attributes, name: "r")
  }
}
