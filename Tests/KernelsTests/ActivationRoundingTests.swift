import Codecs
import Kernels
import TensorCore
import TestSupport
import Testing

/// Linear layers over rounded activations: integer arithmetic against the plain way, scales, and outliers.
struct ActivationRoundingTests {
  static let integers: [ActivationScheme] = [
    .int8Block, .int8Token, .int8Group, .int8Outliers, .int8Tensor, .int4Token, .int4Group,
  ]

  static func run(
    _ table: KernelTable, _ w: PanelMatrix, _ x: [Float], _ scheme: ActivationScheme,
    simulates: Bool = false
  ) -> [Float] {
    run(table, w, x, InputQuantization(scheme, scale: scheme.isStatic ? 0.125 : nil), simulates: simulates)
  }

  static func run(
    _ table: KernelTable, _ w: PanelMatrix, _ x: [Float], _ input: InputQuantization,
    then activation: KernelTable.Activation? = nil, simulates: Bool = false
  ) -> [Float] {
    let tokens = x.count / w.columns
    let source = RowBuffer(x, rows: tokens, columns: w.columns)
    let output = RowBuffer(rows: tokens, columns: w.rows)
    unsafe table.linear(
      source.view, w, then: activation, into: output.view, activations: input, simulates: simulates,
      workspace: Workspace(), pool: ThreadPool(threadCount: 2, isPinned: false))
    #expect(output.isGuarded)
    return output.values
  }

  static func weight(bits: Int, rows: Int, columns: Int, _ generator: inout SeededGenerator) throws -> Weight
  {
    let codec = try IntegerGroupCodec(bits: bits, groupSize: bits == 8 ? nil : 128)
    let matrix = try FloatMatrix(rows: rows, columns: columns, values: generator.normals(rows * columns))
    return .encoded(try codec.encode(matrix, importance: nil, search: .extremes))
  }

  /// Numbers with a few far out, and rows of which one is empty.
  static func inputs(_ tokens: Int, _ columns: Int, _ generator: inout SeededGenerator) -> [Float] {
    var x = generator.normals(tokens * columns)
    for index in x.indices where index % columns % 61 == 7 { x[index] *= 50 }
    if tokens > 1 { for k in 0..<columns { x[columns + k] = 0 } }
    return x
  }

  @Test(arguments: [4, 8], integers)
  func executionEqualsSimulation(bitCount: Int, precision: ActivationScheme) throws {
    var generator = SeededGenerator(seed: 91)
    for (rows, columns) in [(16, 128), (40, 300), (70, 513)] {
      let w = try PanelMatrix(
        packing: [Self.weight(bits: bitCount, rows: rows, columns: columns, &generator)])
      let x = Self.inputs(5, columns, &generator)
      let found = Self.run(.best, w, x, precision)
      let plain = Self.run(.best, w, x, precision, simulates: true)
      let size = plain.map(\.magnitude).max() ?? 0
      let furthest = zip(found, plain).map { abs($0 - $1) }.max() ?? .infinity
      #expect(furthest <= size * 2e-6, "\(rows)x\(columns)")
      for set in instructionSets {
        #expect(bits(found) == bits(Self.run(try table(set), w, x, precision)), "\(set)")
      }
      let last = Self.run(.best, w, Array(x[(4 * columns)...]), precision)
      #expect(bits(last) == bits(Array(found[(4 * rows)...])), "a token depends on those beside it")
    }
  }

  @Test func tokensHaveOneScale() {
    var generator = SeededGenerator(seed: 92)
    let x = RowBuffer(generator.normals(3 * 200), rows: 3, columns: 200)
    let rows = QuantizedRows()
    unsafe KernelTable.best.quantizeActivations(
      x.view, blockLength: 32, as: InputQuantization(.int8Token), into: rows, pool: ThreadPool(threadCount: 1)
    )
    for row in 0..<3 {
      let (codes, scales) = IntegerLinearTests.quantize(x.values[row * 200..<(row + 1) * 200], block: 200)
      #expect(rows.decoded(row: row) == codes.map { Float($0) * scales[0] })
    }
    unsafe KernelTable.best.quantizeActivations(
      x.view, blockLength: 32, as: InputQuantization(.int4Token), into: rows, pool: ThreadPool(threadCount: 1)
    )
    for row in 0..<3 {
      let values = x.values[row * 200..<(row + 1) * 200]
      let largest = values.map(\.magnitude).max() ?? 0
      let codes = values.map { ($0 * (7 / largest)).rounded(.toNearestOrEven) }
      #expect(codes.allSatisfy { $0.magnitude <= 7 } && codes.contains { $0.magnitude == 7 })
      #expect(rows.decoded(row: row) == codes.map { $0 * (largest / 7) })
    }
  }

  /// What LLM.int8() is for: a few large numbers must not cost the others their bits.
  @Test func outliersStayFloats() throws {
    var generator = SeededGenerator(seed: 93)
    let w = try PanelMatrix(packing: [Self.weight(bits: 8, rows: 64, columns: 512, &generator)])
    let x = Self.inputs(4, 512, &generator)
    let exact = Self.run(.best, w, x, .float32)
    func error(_ precision: ActivationScheme) -> Float {
      zip(Self.run(.best, w, x, precision), exact).map { ($0 - $1) * ($0 - $1) }.reduce(0, +)
    }
    #expect(error(.int8Outliers) * 100 < error(.int8Token))
    #expect(error(.int8Outliers) > 0)
    var broken = x
    broken[3] = .nan
    let first = Self.run(.best, w, broken, .int8Outliers)[..<64]
    let isLost = first.allSatisfy { $0.isNaN }
    #expect(isLost)
  }

  /// Columns that calibration found are left out whole, so that what remains of them does not set the scale.
  @Test func outlierColumnsStayFloats() throws {
    var generator = SeededGenerator(seed: 95)
    for bitCount in [4, 8] {
      let w = try PanelMatrix(packing: [Self.weight(bits: bitCount, rows: 40, columns: 300, &generator)])
      let x = Self.inputs(5, 300, &generator)
      let columns = (0..<300).filter { $0 % 61 == 7 }
      for scheme in [ActivationScheme.int8Token, .int8Outliers, .int8Block] {
        let input = InputQuantization(scheme, outlierColumns: columns)
        let found = Self.run(.best, w, x, input)
        let plain = Self.run(.best, w, x, input, simulates: true)
        let size = plain.map(\.magnitude).max() ?? 0
        #expect(zip(found, plain).allSatisfy { abs($0 - $1) <= size * 2e-6 }, "\(scheme)")
        for set in instructionSets { #expect(bits(found) == bits(Self.run(try table(set), w, x, input))) }
        let rest = zip(Self.run(.best, w, x, input), Self.run(.best, w, x, .float32)).map { $0 - $1 }
        let whole = zip(Self.run(.best, w, x, scheme), Self.run(.best, w, x, .float32)).map { $0 - $1 }
        let (kept, lost) = (rest.reduce(0) { $0 + $1 * $1 }, whole.reduce(0) { $0 + $1 * $1 })
        #expect(scheme == .int8Outliers ? kept <= lost : kept * 4 < lost, "\(scheme): \(kept), \(lost)")
      }
    }
  }

  @Test(arguments: [KernelTable.Activation.silu, .relu, .gelu(.tanh)])
  func activationsComeAfterOutliers(activation: KernelTable.Activation) throws {
    var generator = SeededGenerator(seed: 96)
    let w = try PanelMatrix(packing: [Self.weight(bits: 8, rows: 40, columns: 300, &generator)])
    let x = Self.inputs(3, 300, &generator)
    for input in [InputQuantization(.int8Outliers), InputQuantization(.int8Token, outlierColumns: [7, 68])] {
      let found = Self.run(.best, w, x, input, then: activation)
      let plain = Self.run(.best, w, x, input, then: activation, simulates: true)
      let size = plain.map(\.magnitude).max() ?? 0
      #expect(zip(found, plain).allSatisfy { abs($0 - $1) <= size * 2e-6 })
      #expect(bits(found) != bits(Self.run(.best, w, x, input)), "the activation did something")
    }
  }

  @Test func staticScalesSaturate() throws {
    let identity = try FloatMatrix(
      rows: 32, columns: 32, values: (0..<1024).map { $0 / 32 == $0 % 32 ? 127 : 0 })
    let w = try PanelMatrix(
      packing: [
        .encoded(
          try IntegerGroupCodec(bits: 8, groupSize: 32).encode(identity, importance: nil, search: .extremes))
      ])
    let unit = Self.run(.best, w, [Float](repeating: 1, count: 32), .float32)
    var x = (0..<32).map { Float($0 - 16) * 1.3 }
    (x[0], x[31]) = (-1000, 1000)
    for simulates in [false, true] {
      let integers = Self.run(.best, w, x, InputQuantization(.int8Tensor, scale: 0.125), simulates: simulates)
      let floats = Self.run(.best, w, x, InputQuantization(.fp8Tensor, scale: 0.125), simulates: simulates)
      for column in 0..<32 {
        let code = max(-127, min(127, (x[column] * 8).rounded(.toNearestOrEven)))
        #expect(abs(integers[column] - code / 8 * unit[column]) <= abs(code) * 1e-4)
        let value = PlainCache.e4m3(max(-448, min(448, x[column] * 8))) / 8
        #expect(abs(floats[column] - value * unit[column]) <= abs(value) * 1e-3)
      }
    }
    x[3] = .infinity
    for scheme in [ActivationScheme.int8Tensor, .fp8Tensor] {
      let found = Self.run(.best, w, x, InputQuantization(scheme, scale: 0.125))
      let isLost = found.allSatisfy(\.isNaN)
      #expect(isLost)
    }
  }

  @Test func float8RoundsAsItsCodec() throws {
    var generator = SeededGenerator(seed: 94)
    let columns = 300
    let x = Self.inputs(4, columns, &generator)
    // Identity rows give back what was rounded.
    let identity = try FloatMatrix(
      rows: columns, columns: columns,
      values: (0..<columns * columns).map { $0 / columns == $0 % columns ? 1 : 0 })
    let codec = try IntegerGroupCodec(bits: 8, groupSize: 128)
    let w = try PanelMatrix(
      packing: [.encoded(try codec.encode(identity, importance: nil, search: .extremes))])
    let one = Self.run(.best, w, [Float](repeating: 1, count: columns), .float32)
    for (precision, length) in [(ActivationScheme.fp8Token, columns), (.fp8Group, 128)] {
      let found = Self.run(.best, w, x, precision)
      for set in instructionSets { #expect(bits(found) == bits(Self.run(try table(set), w, x, precision))) }
      for row in 0..<4 {
        for start in stride(from: 0, to: columns, by: length) {
          let range = row * columns + start..<row * columns + min(start + length, columns)
          let scale = (x[range].map(\.magnitude).max() ?? 0) / 448
          for index in range {
            let expected = scale == 0 ? 0 : PlainCache.e4m3(x[index] / scale) * scale
            #expect(abs(found[index] - expected * one[index % columns]) <= abs(expected) * 1e-6)
          }
        }
      }
    }
  }
}
