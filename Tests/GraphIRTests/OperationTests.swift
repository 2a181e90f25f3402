import Glibc
import GraphIR
import OrderedCollections
import TensorCore
import TestSupport
import Testing

@Suite struct OperationTests {
  @Test(arguments: OperationDefinition.all.map(\.operation.rawValue))
  func everyOperationIsDocumentedAndComputed(name: String) throws {
    let operation = Operation(rawValue: name)
    let definition = try #require(OperationDefinition.named(operation))
    #expect(Interpreter.computes(operation))
    #expect(definition.summary.hasSuffix(".") && definition.summary.count > 20)
    #expect(Set(definition.attributes.map(\.name)).count == definition.attributes.count)
    for attribute in definition.attributes {
      #expect(attribute.defaultValue == nil || attribute.defaultValue?.kind == attribute.kind)
    }
    let optional = definition.operands.map(\.isOptional)
    #expect(optional == optional.sorted { !$0 && $1 }, "only last operands may be left out")
  }

  /// Runs one node on `x` [rows, columns] and returns its first result.
  func run(
    _ line: String, _ x: [Float], rows: Int, constants: [String: [Float]] = [:], shapes: String = ""
  ) throws -> [Float] {
    let columns = x.count / rows
    let declarations = shapes.isEmpty ? "" : "constants { \(shapes) }"
    let graph = try Graph(
      parsing: "graph @g (x: f32[T, \(columns)], p: i32[T]) { \(declarations) \(line) return %y }")
    let inputs = [
      "x": try Tensor(x, shape: Shape([rows, columns])),
      "p": try Tensor((0..<rows).map { Int32($0) + 3 }, shape: Shape([rows])),
    ]
    let results = try Interpreter.run(graph, inputs: inputs) { name in
      let values = constants[name] ?? []
      return try Tensor(values, shape: Shape(graph.constants[name]?.dimensions ?? []))
    }
    return try results[0].floats()
  }

  func expectClose(_ found: [Float], _ expected: [Double], sourceLocation: SourceLocation = #_sourceLocation)
  {
    #expect(found.count == expected.count, sourceLocation: sourceLocation)
    for (a, b) in zip(found, expected) {
      #expect(
        abs(Double(a) - b) <= 1e-6 * max(1, abs(b)), "\(found) \(expected)", sourceLocation: sourceLocation)
    }
  }

  @Test func elementwiseOperationsFollowTheirFormulas() throws {
    let x: [Float] = [-3, -0.5, 0, 1.25]
    let wide = x.map(Double.init)
    expectClose(try run("%y = silu %x : f32[T, 4]", x, rows: 1), wide.map { $0 / (1 + exp(-$0)) })
    expectClose(
      try run("%y = gelu %x : f32[T, 4]", x, rows: 1),
      wide.map { $0 * 0.5 * (1 + erf($0 / 2.0.squareRoot())) })
    expectClose(
      try run("%y = gelu %x {approximate = \"tanh\"} : f32[T, 4]", x, rows: 1),
      wide.map { $0 * 0.5 * (1 + tanh(0.7978845608028654 * ($0 + 0.044715 * pow($0, 3)))) })
    expectClose(try run("%y = softcap %x {cap = 2.0} : f32[T, 4]", x, rows: 1), wide.map { 2 * tanh($0 / 2) })
    expectClose(try run("%y = scale %x {factor = 0.5} : f32[T, 4]", x, rows: 1), wide.map { $0 / 2 })
    expectClose(try run("%y = add %x, %x : f32[T, 4]", x, rows: 1), wide.map { 2 * $0 })
    expectClose(try run("%y = multiply %x, %x : f32[T, 4]", x, rows: 1), wide.map { $0 * $0 })
    expectClose(
      try run("%y = slice %x {start = 1, length = 1} : f32[T, 1]", [1, 2, 3, 4, 5, 6], rows: 2), [2, 5])
  }

  @Test func limitsAndRowFactors() throws {
    let x: [Float] = [-3, -0.5, 0, 1.25]
    expectClose(try run("%y = relu %x : f32[T, 4]", x, rows: 1), [0, 0, 0, 1.25])
    expectClose(
      try run("%y = sigmoid %x : f32[T, 4]", x, rows: 1), x.map { 1 / (1 + exp(-Double($0))) })
    expectClose(
      try run("%y = clamp %x {minimum = -1.0, maximum = 1.0} : f32[T, 4]", x, rows: 1), [-1, -0.5, 0, 1])
    expectClose(
      try run("%y = gelu %x {approximate = \"sigmoid\"} : f32[T, 4]", x, rows: 1),
      x.map { Double($0) / (1 + exp(-1.702 * Double($0))) })
    expectClose(
      try run("%y = hadamard %x {block = 2} : f32[T, 4]", [3, 1, -2, 6], rows: 1),
      [4, 2, 4, -8].map { $0 / 2.0.squareRoot() })
    expectClose(try run("%y = hadamard %x {block = 4} : f32[T, 4]", [1, 2, 3, 4], rows: 1), [5, -1, -2, 0])
    for block in [0, 1, 3, 8] {
      #expect(throws: GraphError.self) {
        try run("%y = hadamard %x {block = \(block)} : f32[T, 4]", [1, 2, 3, 4], rows: 1)
      }
    }
    let factors = "%f = slice %x {start = 1, length = 1} : f32[T, 1]"
    expectClose(
      try run(factors + " %y = scale_rows %x, %f : f32[T, 2]", [1, 2, 3, 4], rows: 2), [2, 4, 12, 16])
  }

  @Test func gatesFollowTheirFormulas() throws {
    let x: [Float] = [-3, -0.5, 0.75, 9, 2, -7, 0.25, 1]
    let parts =
      "%g = slice %x {start = 0, length = 4} : f32[T, 4] %u = slice %x {start = 4, length = 4} : f32[T, 4] "
    let limited = (0..<4).map { column in
      let gate = min(Double(x[column]), 1.5)
      let open = gate / (1 + exp(-1.702 * gate))
      return open * (1 + min(max(Double(x[column + 4]), -1.5), 1.5))
    }
    expectClose(try run(parts + "%y = limited_glu %g, %u {limit = 1.5} : f32[T, 4]", x, rows: 1), limited)
    // A weight that hands its input on: what is left is the product.
    let identity = (0..<64).map { Float($0 % 9 == 0 ? 1 : 0) }
    for (attributes, plain) in [
      ("product = \"limited_glu\", limit = 1.5", "limited_glu %g, %u {limit = 1.5}"),
      ("product = \"swiglu\"", "swiglu %g, %u"),
      ("product = \"geglu_sigmoid\"", "geglu %g, %u {approximate = \"sigmoid\"}"),
    ] {
      let expected = try run(parts + "%y = \(plain) : f32[T, 4]", x, rows: 1)
      let found = try run(
        "%y = linear_gated %x, @w {\(attributes)} : f32[T, 4]", x, rows: 1, constants: ["w": identity],
        shapes: "@w: f32[8, 8]")
      #expect(found == expected, "\(attributes)")
    }
    for line in [
      "%y = linear_gated %x, @w {product = \"glu\"} : f32[T, 4]",
      "%y = linear_gated %x, @v {product = \"swiglu\"} : f32[T, 1]",
      "%y = limited_glu %x, %x {limit = -1.0} : f32[T, 8]",
    ] {
      #expect(throws: GraphError.self, "\(line)") {
        try run(
          line, x, rows: 1, constants: ["w": identity, "v": identity], shapes: "@w: f32[8, 8] @v: f32[3, 8]")
      }
    }
  }

  @Test func normalizationOfHeads() throws {
    let x: [Float] = [3, 4, 6, 8]
    let inverse = [1 / 12.5.squareRoot(), 1 / 50.0.squareRoot()]
    expectClose(
      try run(
        "%y = rms_norm %x, @w {eps = 0.0, offset = 1.0, heads = 2} : f32[T, 4]", x, rows: 1,
        constants: ["w": [0, 1]], shapes: "@w: f32[2]"),
      [3 * inverse[0], 8 * inverse[0], 6 * inverse[1], 16 * inverse[1]])
    expectClose(
      try run(
        "%y = layer_norm %x, @w, @b {eps = 0.0} : f32[T, 4]", [1, 3, 5, 7], rows: 1,
        constants: ["w": [1, 1, 1, 2], "b": [0, 0, 1, 0]], shapes: "@w: f32[4] @b: f32[4]"),
      [-3, -1, 1, 3].enumerated().map { index, value in
        Double(value) / 5.0.squareRoot() * (index == 3 ? 2 : 1) + (index == 2 ? 1 : 0)
      })
    expectClose(
      try run(
        "%y = layer_norm %x, @w, @b {eps = 0.0, offset = 1.0} : f32[T, 4]", [1, 3, 5, 7], rows: 1,
        constants: ["w": [0, 0, 0, 1], "b": [0, 0, 1, 0]], shapes: "@w: f32[4] @b: f32[4]"),
      [-3, -1, 1, 3].enumerated().map { index, value in
        Double(value) / 5.0.squareRoot() * (index == 3 ? 2 : 1) + (index == 2 ? 1 : 0)
      })
    #expect(throws: GraphError.self, "three heads do not divide four columns") {
      try run(
        "%y = rms_norm %x, @w {eps = 0.0, heads = 3} : f32[T, 4]", x, rows: 1, constants: ["w": [1]],
        shapes: "@w: f32[1]")
    }
  }

  /// Two of four experts by softmax, then the products of each and their sum.
  @Test func expertsFollowTheirFormulas() throws {
    let x: [Float] = [1, 3, 2, 0]
    let weights = x.map { exp(Double($0)) }
    let total = weights.reduce(0, +)
    let route = "%r = route %x {chosen = 2} : f32[T, 4]"
    expectClose(
      try run(route.replacing("%r", with: "%y"), x, rows: 1), [0, weights[1] / total, weights[2] / total, 0])
    expectClose(
      try run("%y = route %x {chosen = 2, normalized = true, factor = 2.0} : f32[T, 4]", x, rows: 1),
      [0, 2 * weights[1] / (weights[1] + weights[2]), 2 * weights[2] / (weights[1] + weights[2]), 0])
    let sigmoid = x.map { 1 / (1 + exp(-Double($0))) }
    expectClose(
      try run(
        "%y = route %x, @b {chosen = 1, scores = \"sigmoid\"} : f32[T, 4]", x, rows: 1,
        constants: ["b": [0, 0, 0, 1]], shapes: "@b: f32[4]"), [0, 0, 0, sigmoid[3]])
    expectClose(
      try run(
        "%y = route %x {chosen = 1, scores = \"sigmoid\", groups = 2, group_top = 2} : f32[T, 4]",
        [1, 1, 1.5, 0], rows: 1), [sigmoid[0], 0, 0, 0])
    let product =
      " %q = expert_linear %x, %r, [@a, @b, @c, @d] {chosen = 2} : f32[T, 2]"
      + " %y = expert_sum %q, %r {chosen = 2} : f32[T, 1]"
    let matrices: [String: [Float]] = [
      "a": [9, 9, 9, 9], "b": [1, 0, 0, 0], "c": [0, 1, 0, 0], "d": [9, 9, 9, 9],
    ]
    expectClose(
      try run(
        route + product, x, rows: 1, constants: matrices,
        shapes: "@a: f32[1, 4] @b: f32[1, 4] @c: f32[1, 4] @d: f32[1, 4]"),
      [weights[1] / total * 1 + weights[2] / total * 3])
    let biased = product.replacing(
      " %y = expert_sum %q",
      with: " %k = expert_bias %q, %r, [@e, @f, @g, @h] {chosen = 2} : f32[T, 2] %y = expert_sum %k")
    expectClose(
      try run(
        route + biased, x, rows: 1,
        constants: matrices.merging(["e": [9], "f": [5], "g": [-7], "h": [9]]) { $1 },
        shapes:
          "@a: f32[1, 4] @b: f32[1, 4] @c: f32[1, 4] @d: f32[1, 4] @e: f32[1] @f: f32[1] @g: f32[1] @h: f32[1]"
      ),
      [weights[1] / total * 6 + weights[2] / total * -4])
  }

  @Test func normalizationAndProjection() throws {
    let x: [Float] = [3, 4, 0, 2]
    let inverse = [1 / 12.5.squareRoot(), 1 / 2.0.squareRoot()]
    expectClose(
      try run(
        "%y = rms_norm %x, @w {eps = 0.0} : f32[T, 2]", x, rows: 2, constants: ["w": [1, 10]],
        shapes: "@w: f32[2]"),
      [3 * inverse[0], 40 * inverse[0], 0, 20 * inverse[1]])
    expectClose(
      try run(
        "%y = linear %x, [@a, @b], [@c, @d] : f32[T, 3]", x, rows: 2,
        constants: ["a": [1, 0], "b": [0, 1, 1, 1], "c": [100], "d": [200, 300]],
        shapes: "@a: f32[1, 2] @b: f32[2, 2] @c: f32[1] @d: f32[2]"),
      [103, 204, 307, 100, 202, 302])
  }

  @Test func rotationTurnsPairsOfBothLayouts() throws {
    let x: [Float] = [1, 2, 3, 4, 5]
    let angles = [3.0, Double(Float(3) * Float(0.1))]
    func turned(_ a: Double, _ b: Double, _ angle: Double) -> [Double] {
      [(a * cos(angle) - b * sin(angle)) * 2, (b * cos(angle) + a * sin(angle)) * 2]
    }
    let half = (turned(1, 3, angles[0]), turned(2, 4, angles[1]))
    expectClose(
      try run(
        "%y = rope %x, %p, @f {heads = 1, head_dim = 5, magnitude = 2.0} : f32[T, 5]", x, rows: 1,
        constants: ["f": [1, 0.1]], shapes: "@f: f32[2]"),
      [half.0[0], half.1[0], half.0[1], half.1[1], 5])
    expectClose(
      try run(
        "%y = rope %x, %p, @f {heads = 1, head_dim = 5, interleaved = true, magnitude = 2.0} : f32[T, 5]", x,
        rows: 1, constants: ["f": [1, 0.1]], shapes: "@f: f32[2]"),
      turned(1, 2, angles[0]) + turned(3, 4, angles[1]) + [5])
  }

  /// Attention against a direct computation, over sharing, windows, caps and causality.
  @Test(arguments: [
    (1, 0, 0.0, true), (2, 0, 0.0, true), (4, 3, 0.0, true), (2, 0, 1.5, true), (2, 0, 0.0, false),
  ])
  func attentionFollowsItsDefinition(keyHeads: Int, window: Int, cap: Double, causal: Bool) throws {
    var generator = SeededGenerator(seed: UInt64(keyHeads * 100 + window))
    let (rows, width, heads) = (6, 3, 4)
    let columns = (heads + 2 * keyHeads) * width
    let x = generator.normals(rows * columns)
    let text = """
      %q = slice %x {start = 0, length = \(heads * width)} : f32[T, \(heads * width)]
      %k = slice %x {start = \(heads * width), length = \(keyHeads * width)} : f32[T, \(keyHeads * width)]
      %v = slice %x {start = \((heads + keyHeads) * width), length = \(keyHeads * width)} : f32[T, \(keyHeads * width)]
      %y = attention %q, %k, %v {heads = 4, kv_heads = \(keyHeads), head_dim = 3, scale = 0.7, cache = 0,
        window = \(window), softcap = \(cap), causal = \(causal)} : f32[T, 12]
      """
    func at(_ row: Int, _ column: Int) -> Double { Double(x[row * columns + column]) }
    var expected: [Double] = []
    for token in 0..<rows {
      for head in 0..<heads {
        let shared = head * keyHeads / heads
        var sums = [Double](repeating: 0, count: width)
        var total = 0.0
        for other in 0..<rows where (!causal || other <= token) && (window == 0 || other > token - window) {
          var score = 0.0
          for i in 0..<width {
            score += at(token, head * width + i) * at(other, (heads + shared) * width + i)
          }
          score *= 0.7
          if cap > 0 { score = cap * tanh(score / cap) }
          total += exp(score)
          for i in 0..<width { sums[i] += exp(score) * at(other, (heads + keyHeads + shared) * width + i) }
        }
        expected += sums.map { $0 / total }
      }
    }
    expectClose(try run(text, x, rows: rows), expected)
  }

  @Test func runsRefuseWhatDoesNotFit() throws {
    let graph = try Graph(parsing: SampleGraphs.decoder)
    let constants = SampleGraphs.constants(of: graph, seed: 1)
    var inputs = try SampleGraphs.inputs(count: 3, vocabulary: 20, seed: 1)
    inputs["positions"] = try Tensor([Int32(0), 1], shape: Shape([2]))
    #expect(throws: GraphError.self) { try Interpreter.run(graph, inputs: inputs, constants: constants) }
    inputs["positions"] = nil
    #expect(throws: GraphError.self) { try Interpreter.run(graph, inputs: inputs, constants: constants) }
    inputs = try SampleGraphs.inputs(count: 3, vocabulary: 20, seed: 1)
    inputs["tokens"] = try Tensor([Int32(0), 20, 1], shape: Shape([3]))
    #expect(throws: GraphError.self) { try Interpreter.run(graph, inputs: inputs, constants: constants) }
    inputs["tokens"] = try Tensor([Int32(0), 19, 1], shape: Shape([3]))
    #expect(throws: GraphError.self) {
      try Interpreter.run(graph, inputs: inputs) { _ in try Tensor([Float(0)], shape: Shape([1])) }
    }
  }
}
