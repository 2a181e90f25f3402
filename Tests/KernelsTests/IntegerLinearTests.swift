import Codecs
import Kernels
import TensorCore
import TestSupport
import Testing

/// Linear layers with int8 activations against their definition, exactly.
struct IntegerLinearTests {
  /// Codes, scales and sums of one row, by the definition.
  static func quantize(_ x: ArraySlice<Float>, block: Int) -> (codes: [Int], scales: [Float]) {
    var codes: [Int] = []
    var scales: [Float] = []
    let x = Array(x)
    for start in stride(from: 0, to: x.count, by: block) {
      let part = x[start..<min(start + block, x.count)]
      let largest = part.map(\.magnitude).max() ?? 0
      let isFinite = part.allSatisfy(\.isFinite)
      let scale = largest / 127
      let factor = scale < .leastNormalMagnitude || !isFinite ? 0 : 127 / largest
      scales.append(!isFinite ? .nan : factor == 0 ? 0 : scale)
      codes += part.map { factor == 0 ? 0 : Int(($0 * factor).rounded(.toNearestOrEven)) }
    }
    return (codes, scales)
  }

  /// The definition, from the encoded matrix itself.
  static func reference(
    _ x: [Float], _ matrix: EncodedMatrix, packed: PanelMatrix, bias: [Float]?, tokens: Int
  ) throws -> [Float] {
    let codec = try #require(matrix.codec as? IntegerGroupCodec)
    let parts = codec.unpacked(matrix, rows: 0..<matrix.rows)
    let groups = codec.groupCount(columns: matrix.columns)
    let length = codec.groupLength(columns: matrix.columns)
    var y: [Float] = []
    for token in 0..<tokens {
      let (codes, scales) = quantize(
        x[token * matrix.columns..<(token + 1) * matrix.columns], block: packed.blockLength)
      for row in 0..<matrix.rows {
        var sum: Float = 0
        for (block, scale) in scales.enumerated() {
          let range = block * packed.blockLength..<min((block + 1) * packed.blockLength, matrix.columns)
          let group = row * groups + range.lowerBound / length
          var dot = 0
          for k in range {
            dot += codes[k] * (Int(parts.codes[row * matrix.columns + k]) - Int(parts.zeros[group]))
          }
          sum.addProduct(Float(dot), Float(Float16(parts.scales[group])) * scale)
        }
        y.append(bias.map { sum + $0[row] } ?? sum)
      }
    }
    return y
  }

  struct Case: Sendable, CustomTestStringConvertible {
    let bits: Int
    let group: Int?
    let isSymmetric: Bool
    var testDescription: String {
      "int\(bits) group \(group.map(String.init) ?? "row") symmetric \(isSymmetric)"
    }
  }

  static let cases = [
    Case(bits: 4, group: 32, isSymmetric: true), Case(bits: 4, group: 128, isSymmetric: true),
    Case(bits: 4, group: 64, isSymmetric: false), Case(bits: 4, group: nil, isSymmetric: false),
    Case(bits: 2, group: 96, isSymmetric: true), Case(bits: 8, group: 128, isSymmetric: true),
    Case(bits: 8, group: 32, isSymmetric: false), Case(bits: 8, group: nil, isSymmetric: true),
    Case(bits: 5, group: 64, isSymmetric: true),
  ]

  @Test(arguments: instructionSets, cases)
  func matchesDefinition(set: InstructionSet, test: Case) throws {
    var generator = SeededGenerator(seed: 5)
    let table = try table(set)
    for (rows, columns) in LinearTests.sizes {
      let weight = try LinearTests.codes(
        bits: test.bits, group: test.group, isSymmetric: test.isSymmetric, rows: rows, columns: columns,
        &generator)
      guard case .encoded(let matrix) = weight else { continue }
      let packed = try PanelMatrix(packing: [weight])
      let bias = generator.normals(rows)
      for tokens in [1, 2, 4, 7, 13] {
        let x = generator.normals(tokens * columns)
        let useBias = tokens % 2 == 0 ? bias : nil
        let expected = try IntegerLinearTests.reference(
          x, matrix, packed: packed, bias: useBias, tokens: tokens)
        let found = LinearTests.run(table, packed, x, bias: useBias, tokens: tokens, activations: .int8Block)
        #expect(bits(found) == bits(expected), "\(rows)x\(columns), \(tokens) tokens")
      }
    }
  }

  @Test(arguments: instructionSets, [4, 8])
  func largestSumsAreExact(set: InstructionSet, bitCount: Int) throws {
    // Every code at an end of its range, every activation at an end of its own.
    let table = try table(set)
    let columns = 256
    for (low, high) in [(Float(-1), Float(-1)), (1, 1), (-1, 1)] {
      let values = (0..<16 * columns).map { $0 % 2 == 0 ? low : high }
      let codec = try IntegerGroupCodec(bits: bitCount, groupSize: 128)
      let weight = try codec.encode(
        FloatMatrix(rows: 16, columns: columns, values: values), importance: nil, search: .extremes)
      let packed = try PanelMatrix(packing: [.encoded(weight)])
      for sign in [Float(1), -1] {
        let x = (0..<columns * 5).map { $0 % 2 == 0 ? sign * 3 : 3 }
        let expected = try IntegerLinearTests.reference(x, weight, packed: packed, bias: nil, tokens: 5)
        let found = LinearTests.run(table, packed, x, bias: nil, tokens: 5, activations: .int8Block)
        #expect(bits(found) == bits(expected))
      }
    }
  }

  /// Rows of which so many pairs of a hundred are as large as codes get, with one sign, and the others small and of two.
  static func spiky(
    rows: Int, columns: Int, percent: Int, _ generator: inout SeededGenerator
  ) -> [Float] {
    var values: [Float] = []
    for _ in 0..<rows * columns / 2 {
      let isLarge = Int(generator.next() % 100) < percent
      let sign: Float = generator.next() % 2 == 0 ? 1 : -1
      let small = Float(generator.next() % 5) - 2
      values += isLarge ? [sign * 10, sign * 9.9] : [small, -small]
    }
    return values
  }

  @Test(arguments: instructionSets, [0, 1, 30, 100])
  func pairsThatSixteenBitsCannotHold(set: InstructionSet, percent: Int) throws {
    var generator = SeededGenerator(seed: 8)
    let table = try table(set)
    let pool = ThreadPool(threadCount: 2)
    for (isSymmetric, group) in [(true, nil), (false, 64), (true, 32)] as [(Bool, Int?)] {
      let (rows, columns, tokens) = (40, 448, 103)
      let values = (0..<rows * columns).map { $0 % 3 == 0 ? Float(-1) : 1 }
      let codec = try IntegerGroupCodec(bits: 8, groupSize: group, isSymmetric: isSymmetric)
      let matrix = try codec.encode(
        FloatMatrix(rows: rows, columns: columns, values: values), importance: nil, search: .extremes)
      let packed = try PanelMatrix(packing: [.encoded(matrix)])
      let x = IntegerLinearTests.spiky(rows: tokens, columns: columns, percent: percent, &generator)
      let expected = try IntegerLinearTests.reference(x, matrix, packed: packed, bias: nil, tokens: tokens)

      let codes = QuantizedRows()
      let input = RowBuffer(x, rows: tokens, columns: columns)
      unsafe table.quantizeActivations(input.view, blockLength: packed.blockLength, into: codes, pool: pool)
      for first in [0, 5] {
        let output = RowBuffer(rows: tokens - first, columns: rows)
        unsafe table.linear(codes, first: first, packed, into: output.view, pool: pool)
        #expect(bits(output.values) == bits(Array(expected[(first * rows)...])), "from row \(first)")
      }
      guard set == .avx2 else { continue }
      // Nothing to take, something, and too much: the three ways were gone.
      let blocks = codes.blockCount
      #expect(codes.fitting.blocks == (percent > 10 ? 0 : blocks))
      #expect((codes.fitting.pairs > 0) == (percent == 1))
    }
  }

  /// Codes of the largest magnitude, whose products of eight exceed 16 bits where signs agree, beside small ones that do not:
  /// both ways are gone, by weights or by activations, and by those of some tokens only.
  @Test(arguments: instructionSets, [0, 3, 8, 100])
  func sumsThatSixteenBitsCannotHold(set: InstructionSet, percent: Int) throws {
    var generator = SeededGenerator(seed: 10)
    let table = try table(set)
    for (isSymmetric, group) in [(true, nil), (false, 64), (true, 32)] as [(Bool, Int?)] {
      let (rows, columns, tokens) = (53, 448, 101)
      // A large pair has two signs, so that nothing is taken from it, and weights that follow these signs.
      func numbers(_ count: Int, large: Int) -> [Float] {
        (0..<count).map { index in
          let isLarge = Int(generator.next() % 100) < large || index % columns == 5
          return (index % 2 == 0 ? 1 : -1) * (isLarge ? 127 : Float(generator.next() % 9) - 4)
        }
      }
      for weights in [0, 8, 100] {
        let codec = try IntegerGroupCodec(bits: 8, groupSize: group, isSymmetric: isSymmetric)
        let matrix = try codec.encode(
          FloatMatrix(rows: rows, columns: columns, values: numbers(rows * columns, large: weights)),
          importance: nil, search: .extremes)
        let packed = try PanelMatrix(packing: [.encoded(matrix)])
        var x = numbers(tokens * columns, large: percent)
        // Tokens of one sign, of zeros, and of the other sign of all weights.
        for k in 0..<columns {
          x[20 * columns + k].negate()
          x[21 * columns + k] = 0
          x[22 * columns + k] = 100
        }
        let bias = generator.normals(rows)
        let expected = try IntegerLinearTests.reference(x, matrix, packed: packed, bias: bias, tokens: tokens)
        let found = LinearTests.run(table, packed, x, bias: bias, tokens: tokens, activations: .int8Block)
        #expect(bits(found) == bits(expected), "\(weights) of a hundred weights, group \(group ?? 0)")
      }
    }
  }

  @Test(arguments: instructionSets, [4, 8])
  func longRowsThreadsAndBatches(set: InstructionSet, bitCount: Int) throws {
    var generator = SeededGenerator(seed: 6)
    let table = try table(set)
    let (rows, columns, tokens) = (72, 2304, set == .portable ? 20 : 210)
    let weight = try LinearTests.codes(
      bits: bitCount, group: 128, isSymmetric: false, rows: rows, columns: columns, &generator)
    guard case .encoded(let matrix) = weight else { return }
    let packed = try PanelMatrix(packing: [weight])
    let x = generator.normals(tokens * columns)
    let whole = LinearTests.run(table, packed, x, bias: nil, tokens: tokens, activations: .int8Block)
    let expected = try IntegerLinearTests.reference(
      Array(x[..<(2 * columns)]), matrix, packed: packed, bias: nil, tokens: 2)
    #expect(bits(Array(whole[..<(2 * rows)])) == bits(expected))
    let threaded = LinearTests.run(
      table, packed, x, bias: nil, tokens: tokens, activations: .int8Block, threads: 3)
    #expect(bits(threaded) == bits(whole))
    let last = Array(x[((tokens - 1) * columns)...])
    let alone = LinearTests.run(table, packed, last, bias: nil, tokens: 1, activations: .int8Block)
    #expect(bits(alone) == bits(Array(whole[((tokens - 1) * rows)...])))
  }

  @Test(arguments: instructionSets)
  func activationsFollowTheDefinition(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 7)
    let table = try table(set)
    let columns = 150
    var values = generator.normals(columns * 6)
    for k in 0..<columns { values[columns + k] = 0 }
    for k in 0..<columns { values[2 * columns + k] = 1e-38 * Float(k % 3) }
    for k in 0..<columns { values[3 * columns + k] *= 1e37 }
    values[4 * columns + 40] = .infinity
    values[5 * columns + 140] = .nan
    let rows = QuantizedRows()
    let input = RowBuffer(values, rows: 6, columns: columns)
    unsafe table.quantizeActivations(
      input.view, blockLength: 64, into: rows, pool: ThreadPool(threadCount: 1))
    for row in 0..<6 {
      let (codes, scales) = IntegerLinearTests.quantize(
        values[row * columns..<(row + 1) * columns], block: 64)
      let expected = codes.enumerated().map { Float($1) * scales[$0 / 64] }
      #expect(bits(rows.decoded(row: row)) == bits(expected), "row \(row)")
    }
  }
}
