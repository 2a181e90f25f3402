import Codecs
import Kernels
import TensorCore
import TestSupport
import Testing

/// Linear layers against plain loops; every comparison is exact, for every instruction set, thread count and number of
/// tokens.
struct LinearTests {
  static let sizes: [(rows: Int, columns: Int)] = [
    (1, 1), (15, 7), (16, 32), (17, 33), (33, 64), (64, 100), (70, 129), (96, 260), (5, 515), (130, 31),
  ]
  static let tokens = [1, 2, 3, 5, 6, 12, 13, 26]

  static func reference(_ x: [Float], _ w: [Float], bias: [Float]?, rows: Int, columns: Int, tokens: Int)
    -> [Float]
  {
    var y = [Float](repeating: 0, count: tokens * rows)
    for token in 0..<tokens {
      for row in 0..<rows {
        var sum: Float = 0
        for k in 0..<columns { sum.addProduct(x[token * columns + k], w[row * columns + k]) }
        y[token * rows + row] = bias.map { sum + $0[row] } ?? sum
      }
    }
    return y
  }

  static func run(
    _ table: KernelTable, _ matrix: PanelMatrix, _ x: [Float], bias: [Float]?, tokens: Int,
    activations: ActivationScheme, threads: Int = 1
  ) -> [Float] {
    let input = RowBuffer(x, rows: tokens, columns: matrix.columns)
    let output = RowBuffer(rows: tokens, columns: matrix.rows)
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    let workspace = Workspace()
    if let bias {
      unsafe bias.withUnsafeBufferPointer { bias in
        unsafe table.linear(
          input.view, matrix, bias: bias.baseAddress, into: output.view,
          activations: InputQuantization(activations), workspace: workspace, pool: pool)
      }
    } else {
      unsafe table.linear(
        input.view, matrix, into: output.view, activations: InputQuantization(activations),
        workspace: workspace,
        pool: pool)
    }
    #expect(output.isGuarded)
    return output.values
  }

  static func dense(_ type: ElementType, rows: Int, columns: Int, _ generator: inout SeededGenerator) throws
    -> Weight
  {
    let values = generator.normals(rows * columns)
    let shape = try Shape([rows, columns])
    switch type {
    case .f32: return .dense(try Tensor(values, shape: shape))
    case .bf16:
      let bytes = values.flatMap { value -> [UInt8] in
        let bits = SmallFloat.bfloat16(value)
        return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
      }
      return .dense(try Tensor(bytes: bytes, elementType: .bf16, shape: shape))
    default:
      let bytes = values.flatMap { value -> [UInt8] in
        let bits = Float16(value).bitPattern
        return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
      }
      return .dense(try Tensor(bytes: bytes, elementType: .f16, shape: shape))
    }
  }

  static func codes(
    bits: Int, group: Int?, isSymmetric: Bool, rows: Int, columns: Int, _ generator: inout SeededGenerator
  ) throws -> Weight {
    let codec = try IntegerGroupCodec(bits: bits, groupSize: group, isSymmetric: isSymmetric)
    let matrix = try FloatMatrix(rows: rows, columns: columns, values: generator.normals(rows * columns))
    return .encoded(try codec.encode(matrix, importance: nil, search: .extremes))
  }

  /// E4M3 codes stay codes, and give the bits of their values.
  @Test(arguments: instructionSets) func floatCodesMatchReference(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 11)
    let table = try table(set)
    let granularities: [Float8Codec.Granularity] = [.tensor, .channel, .block(128), .block(32)]
    for (index, (rows, columns)) in LinearTests.sizes.enumerated() {
      let codec = try Float8Codec(.e4m3, granularity: granularities[index % 4])
      let values = try FloatMatrix(rows: rows, columns: columns, values: generator.normals(rows * columns))
      let weight = Weight.encoded(try codec.encode(values, importance: nil, search: .extremes))
      let matrix = try PanelMatrix(packing: [weight])
      #expect(matrix.encoding == .e4m3 && matrix.isExact)
      let decoded = try weight.decoded().values
      let bias = generator.normals(rows)
      for tokens in LinearTests.tokens {
        let x = generator.normals(tokens * columns)
        let useBias = tokens % 2 == 1 ? bias : nil
        let expected = LinearTests.reference(
          x, decoded, bias: useBias, rows: rows, columns: columns, tokens: tokens)
        let found = LinearTests.run(table, matrix, x, bias: useBias, tokens: tokens, activations: .float32)
        #expect(bits(found) == bits(expected), "\(rows)x\(columns), \(tokens) tokens")
      }
    }
  }

  @Test(arguments: instructionSets, [ElementType.f32, .bf16, .f16])
  func denseMatchesReference(set: InstructionSet, type: ElementType) throws {
    var generator = SeededGenerator(seed: 1)
    let table = try table(set)
    for (rows, columns) in LinearTests.sizes {
      let weight = try LinearTests.dense(type, rows: rows, columns: columns, &generator)
      let matrix = try PanelMatrix(packing: [weight])
      #expect(matrix.encoding.rawValue == type.name)
      let values = try weight.decoded().values
      let bias = generator.normals(rows)
      for tokens in LinearTests.tokens {
        let x = generator.normals(tokens * columns)
        let useBias = tokens % 2 == 1 ? bias : nil
        let expected = LinearTests.reference(
          x, values, bias: useBias, rows: rows, columns: columns, tokens: tokens)
        let found = LinearTests.run(table, matrix, x, bias: useBias, tokens: tokens, activations: .float32)
        #expect(bits(found) == bits(expected), "\(rows)x\(columns), \(tokens) tokens")
      }
    }
  }

  @Test(arguments: instructionSets, [(4, true), (4, false), (3, true), (8, true), (8, false), (6, true)])
  func codesWithFloatsMatchReference(set: InstructionSet, codec: (bits: Int, isSymmetric: Bool)) throws {
    var generator = SeededGenerator(seed: 2)
    let table = try table(set)
    for (rows, columns) in LinearTests.sizes {
      let weight = try LinearTests.codes(
        bits: codec.bits, group: 32, isSymmetric: codec.isSymmetric, rows: rows, columns: columns, &generator)
      let matrix = try PanelMatrix(packing: [weight])
      #expect(matrix.encoding == (codec.bits <= 4 ? .q4 : .q8))
      let values = try weight.decoded().values
      for tokens in [1, 2, 7, 13] {
        let x = generator.normals(tokens * columns)
        let expected = LinearTests.reference(
          x, values, bias: nil, rows: rows, columns: columns, tokens: tokens)
        let found = LinearTests.run(table, matrix, x, bias: nil, tokens: tokens, activations: .float32)
        #expect(bits(found) == bits(expected), "\(rows)x\(columns), \(tokens) tokens")
      }
    }
  }

  @Test(arguments: instructionSets, [ElementType.f32, .bf16])
  func threadsAndBatchesDoNotChangeBits(set: InstructionSet, type: ElementType) throws {
    var generator = SeededGenerator(seed: 3)
    let table = try table(set)
    let (rows, columns, tokens) = set == .portable ? (100, 70, 30) : (300, 300, 420)
    let matrix = try PanelMatrix(packing: [LinearTests.dense(type, rows: rows, columns: columns, &generator)])
    let x = generator.normals(tokens * columns)
    let whole = LinearTests.run(table, matrix, x, bias: nil, tokens: tokens, activations: .float32)
    for threads in 2...4 {
      let again = LinearTests.run(
        table, matrix, x, bias: nil, tokens: tokens, activations: .float32, threads: threads)
      #expect(bits(again) == bits(whole), "\(threads) threads")
    }
    for token in [0, 5, tokens - 1] {
      let row = Array(x[token * columns..<(token + 1) * columns])
      let alone = LinearTests.run(table, matrix, row, bias: nil, tokens: 1, activations: .float32)
      #expect(bits(alone) == bits(Array(whole[token * rows..<(token + 1) * rows])))
    }
  }

  @Test(arguments: instructionSets)
  func extremesPassThrough(set: InstructionSet) throws {
    let table = try table(set)
    let special: [Float] = [0, -0.0, 1e38, -1e38, 0x1p-149, -0x1.8p-128, .infinity, .nan, 1, -1]
    for value in special {
      let columns = 20
      var x = [Float](repeating: 1e-3, count: columns)
      x[11] = value
      let weights = (0..<17 * columns).map { Float($0 % 7) - 3 }
      let matrix = try PanelMatrix(packing: [.dense(Tensor(weights, shape: [17, 20]))])
      let expected = LinearTests.reference(x, weights, bias: nil, rows: 17, columns: columns, tokens: 1)
      let found = LinearTests.run(table, matrix, x, bias: nil, tokens: 1, activations: .float32)
      #expect(bits(found) == bits(expected), "\(value)")
    }
  }

  @Test func embeddingCopiesRows() throws {
    var generator = SeededGenerator(seed: 4)
    let weight = try LinearTests.dense(.bf16, rows: 37, columns: 19, &generator)
    let matrix = try PanelMatrix(packing: [weight])
    let values = try weight.decoded().values
    let ids: [Int32] = [0, 36, 17, 17, -1, 37, 3]
    let output = RowBuffer(rows: ids.count, columns: 19)
    unsafe ids.withUnsafeBufferPointer { ids in
      guard let start = ids.baseAddress else { return }
      unsafe KernelTable.best.embedding(
        start, count: ids.count, matrix, into: output.view, pool: ThreadPool(threadCount: 1))
    }
    for (index, id) in ids.enumerated() {
      let expected =
        (0..<37).contains(id)
        ? Array(values[Int(id) * 19..<(Int(id) + 1) * 19]) : [Float](repeating: 0, count: 19)
      #expect(output.row(at: index) == expected)
    }
    #expect(output.isGuarded)
  }
}
