import Codecs
import Glibc
import Kernels
import TensorCore
import TestSupport
import Testing

/// Operations that do several things at once have the bits of these one by one.
struct GateTests {
  static let products: [KernelTable.GatedProduct] = [.swiglu, .geglu(.none), .geglu(.tanh), .limited(0.75)]

  private static func weights(
    rows: Int, columns: Int, _ generator: inout SeededGenerator
  ) throws -> [Weight] {
    [
      try LinearTests.dense(.bf16, rows: rows, columns: columns, &generator),
      try LinearTests.codes(
        bits: 4, group: 32, isSymmetric: true, rows: rows, columns: columns, &generator),
      try LinearTests.codes(
        bits: 8, group: 64, isSymmetric: false, rows: rows, columns: columns, &generator),
    ]
  }

  @Test(arguments: instructionSets)
  func gatedLayersHaveTheBitsOfLayerAndProduct(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 60)
    let table = try table(set)
    let inputs: [InputQuantization] = [
      .float32, InputQuantization(.int8Block), InputQuantization(.int8Block, outlierColumns: [3, 40]),
    ]
    for (half, columns) in [(16, 96), (5, 64), (80, 200), (304, 64)] {
      for weight in try Self.weights(rows: 2 * half, columns: columns, &generator) {
        let matrix = try PanelMatrix(packing: [weight])
        let bias = generator.normals(2 * half)
        for (tokens, threads) in [(1, 1), (1, 3), (13, 2), (400, 3)] where half * tokens < 20_000 {
          let pool = ThreadPool(threadCount: threads, isPinned: false)
          let x = RowBuffer(generator.normals(tokens * columns), rows: tokens, columns: columns)
          for (number, input) in inputs.enumerated() {
            let product = Self.products[(number + tokens + half) % Self.products.count]
            let (both, y, z) = (
              RowBuffer(rows: tokens, columns: 2 * half), RowBuffer(rows: tokens, columns: half),
              RowBuffer(rows: tokens, columns: half)
            )
            let workspace = Workspace()
            let hasBias = number != 1
            unsafe bias.withUnsafeBufferPointer { bias in
              let bias = hasBias ? bias.baseAddress : nil
              unsafe table.linear(
                x.view, matrix, bias: bias, into: both.view, activations: input, workspace: workspace,
                pool: pool)
              unsafe table.gatedProduct(
                gate: both.view.columns(0..<half), up: both.view.columns(half..<2 * half), product,
                into: y.view, pool: pool)
              unsafe table.linearGated(
                x.view, matrix, bias: bias, product: product, into: z.view, activations: input,
                workspace: workspace, pool: pool)
            }
            #expect(
              bits(z.values) == bits(y.values),
              "\(matrix.encoding) \(half)x\(columns), \(tokens) tokens, \(threads) threads, \(product), \(input.scheme)"
            )
            #expect(z.isGuarded)
          }
        }
      }
    }
  }

  /// The limited product against its formula, and over an operand.
  @Test(arguments: instructionSets) func productsFollowTheirFormulas(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 61)
    let table = try table(set)
    let pool = ThreadPool(threadCount: 1)
    let (gate, up) = (generator.normals(2 * 531).map { $0 * 4 }, generator.normals(2 * 531).map { $0 * 4 })
    let (a, b) = (
      RowBuffer(gate, rows: 2, columns: 531), RowBuffer(up, rows: 2, columns: 531)
    )
    unsafe table.gatedProduct(gate: a.view, up: b.view, .limited(1.5), into: a.view, pool: pool)
    let expected = zip(gate, up).map { gate, up in
      let low = min(Double(gate), 1.5)
      let open = low / (1 + exp(-1.702 * low))
      return open * min(max(Double(up), -1.5), 1.5) + open
    }
    for (found, value) in zip(a.values, expected) {
      #expect(abs(Double(found) - value) <= 2e-6 * max(1, value.magnitude))
    }
    #expect(a.isGuarded && b.isGuarded)
  }

  @Test(arguments: instructionSets) func gatedExpertsHaveTheBitsOfTheirParts(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 62)
    let table = try table(set)
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    let (count, chosen, columns, tokens) = (5, 2, 64, 9)
    for half in [16, 7] {
      let gates = try (0..<count).map { _ in
        try LinearTests.codes(
          bits: 4, group: 32, isSymmetric: true, rows: half, columns: columns, &generator)
      }
      let ups = try (0..<count).map { _ in
        try LinearTests.codes(
          bits: 4, group: 32, isSymmetric: true, rows: half, columns: columns, &generator)
      }
      let biases = (0..<count).map { _ in generator.normals(2 * half) }
      var weights = [Float](repeating: 0, count: tokens * count)
      for token in 0..<tokens {
        // The last token has one expert only.
        for expert in Array(0..<count).shuffled(using: &generator).prefix(token == 8 ? 1 : chosen) {
          weights[token * count + expert] = 0.5
        }
      }
      let routing = RowBuffer(weights, rows: tokens, columns: count)
      let x = RowBuffer(generator.normals(tokens * columns), rows: tokens, columns: columns)
      let input = [InputQuantization(.int8Block)]
      func product(_ weights: [Weight], bias: Int) throws -> RowBuffer {
        let y = RowBuffer(rows: tokens, columns: chosen * half)
        unsafe table.expertLinear(
          x.view, routing: routing.view, experts: try weights.map { try PanelMatrix(packing: [$0]) },
          chosen: chosen, into: y.view, activations: input, workspace: Workspace(), pool: pool)
        let flat = biases.flatMap { $0[bias * half..<(bias + 1) * half] }
        unsafe flat.withUnsafeBufferPointer { bias in
          guard let start = bias.baseAddress else { return }
          unsafe table.expertBias(
            y.view, routing: routing.view, bias: start, chosen: chosen, into: y.view, pool: pool)
        }
        return y
      }
      let (gate, up) = (try product(gates, bias: 0), try product(ups, bias: 1))
      let (expected, found) = (
        RowBuffer(rows: tokens, columns: chosen * half), RowBuffer(rows: tokens, columns: chosen * half)
      )
      unsafe table.gatedProduct(
        gate: gate.view, up: up.view, .limited(0.5), into: expected.view, pool: pool)
      unsafe table.expertGated(
        x.view, routing: routing.view,
        experts: try zip(gates, ups).map { try PanelMatrix(packing: [$0, $1]) }, biases: biases,
        chosen: chosen, product: .limited(0.5), into: found.view, activations: input, workspace: Workspace(),
        pool: pool)
      #expect(bits(found.values) == bits(expected.values), "\(half) rows")
      #expect(found.isGuarded)
    }
  }

  /// Norms that make codes make those of the rows that they write, and layers take them from any row on.
  @Test(arguments: instructionSets) func normsMakeTheCodesOfTheirRows(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 63)
    let table = try table(set)
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    let (tokens, columns) = (37, 200)
    let weight = try LinearTests.codes(
      bits: 4, group: 64, isSymmetric: true, rows: 48, columns: columns, &generator)
    let matrix = try PanelMatrix(packing: [weight])
    let gain = generator.normals(columns)
    for scheme in [ActivationScheme.int8Block, .int8Token] {
      let input = InputQuantization(scheme)
      for kind in 0..<4 {
        let a = RowBuffer(generator.normals(tokens * columns), rows: tokens, columns: columns)
        let b = RowBuffer(generator.normals(tokens * columns), rows: tokens, columns: columns)
        let y = RowBuffer(rows: tokens, columns: columns)
        let codes = QuantizedRows()
        let rounding = RowRounding(input, blockLength: matrix.blockLength, into: codes)
        unsafe gain.withUnsafeBufferPointer { gain in
          guard let gain = gain.baseAddress else { return }
          switch kind {
          case 0:
            unsafe table.rmsNorm(
              a.view, weight: gain, epsilon: 1e-5, heads: 2, into: y.view, rounding: rounding, pool: pool)
          case 1:
            unsafe table.layerNorm(
              a.view, weight: gain, bias: gain, epsilon: 1e-5, into: y.view, rounding: rounding, pool: pool)
          case 2:
            unsafe table.addRMSNorm(
              a.view, b.view, weight: gain, epsilon: 1e-5, sum: a.view, into: y.view, rounding: rounding,
              pool: pool)
          default:
            unsafe table.addLayerNorm(
              a.view, b.view, weight: gain, bias: nil, epsilon: 1e-5, sum: b.view, into: y.view,
              rounding: rounding, pool: pool)
          }
        }
        let (expected, found) = (
          RowBuffer(rows: tokens, columns: 48), RowBuffer(rows: tokens - 30, columns: 48)
        )
        unsafe table.linear(
          y.view, matrix, into: expected.view, activations: input, workspace: Workspace(), pool: pool)
        unsafe table.linear(codes, first: 30, matrix, into: found.view, pool: pool)
        #expect(bits(found.values) == bits(Array(expected.values.suffix(7 * 48))), "\(scheme), norm \(kind)")
        let (product, gated) = (
          RowBuffer(rows: tokens, columns: 24), RowBuffer(rows: 1, columns: 24)
        )
        unsafe table.linearGated(
          y.view, matrix, product: .swiglu, into: product.view, activations: input, workspace: Workspace(),
          pool: pool)
        unsafe table.linearGated(
          codes, first: 36, matrix, product: .swiglu, into: gated.view, workspace: Workspace(), pool: pool)
        #expect(bits(gated.values) == bits(Array(product.values.suffix(24))))
      }
    }
  }

  /// Attention that turns queries and keys equals rotations before it.
  @Test(arguments: instructionSets) func attentionTurnsAsRotationsDo(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 64)
    let table = try table(set)
    let frequencies: [Float] = [1, 0.3, 0.1, 0.03]
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    for (isInterleaved, width, asked) in [(false, 8, 90), (true, 8, 3), (false, 12, 1)] {
      let (tokens, heads, keyHeads) = (90, 6, 2)
      let q = RowBuffer(generator.normals(tokens * heads * width), rows: tokens, columns: heads * width)
      let k = RowBuffer(
        generator.normals(tokens * keyHeads * width), rows: tokens, columns: keyHeads * width)
      let v = RowBuffer(
        generator.normals(tokens * keyHeads * width), rows: tokens, columns: keyHeads * width)
      let (qr, kr) = (
        RowBuffer(rows: tokens, columns: heads * width), RowBuffer(rows: tokens, columns: keyHeads * width)
      )
      let rotary = RotaryTable()
      let positions = (0..<tokens).map { Int32($0) }
      unsafe positions.withUnsafeBufferPointer { positions in
        unsafe frequencies.withUnsafeBufferPointer { frequencies in
          guard let from = positions.baseAddress, let by = frequencies.baseAddress else { return }
          unsafe rotary.fill(
            positions: from, count: tokens, inverseFrequencies: by, pairs: 4, magnitude: 1.25)
        }
      }
      let workspace = Workspace()
      func attend(turned: Bool) -> [Float] {
        let cache = KVPages(
          heads: keyHeads, headDimension: width, valueDimension: width, format: .f16, window: 0)
        let by = RotaryHeads(rotary, isInterleaved: isInterleaved)
        unsafe table.appendKV(
          k: turned ? kr.view : k.view, v: v.view, to: cache, rotary: turned ? nil : (by, workspace),
          pool: pool)
        let y = RowBuffer(rows: asked, columns: heads * width)
        let queries = unsafe (turned ? qr : q).view.rows(tokens - asked..<tokens)
        unsafe table.attention(
          queries, cache: cache, heads: heads, scale: 0.4, rotary: turned ? nil : by, into: y.view,
          workspace: workspace, pool: pool)
        #expect(y.isGuarded)
        return y.values
      }
      unsafe table.rope(
        q.view, table: rotary, heads: heads, headDimension: width, isInterleaved: isInterleaved,
        into: qr.view, pool: pool)
      unsafe table.rope(
        k.view, table: rotary, heads: keyHeads, headDimension: width, isInterleaved: isInterleaved,
        into: kr.view, pool: pool)
      #expect(bits(attend(turned: false)) == bits(attend(turned: true)), "\(width), \(asked) asked")
    }
  }

  /// Integers of unequal bits and zero points in one matrix multiply as they do alone.
  @Test(arguments: instructionSets) func joinedIntegersMultiplyAsTheyDoAlone(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 65)
    let table = try table(set)
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    for kinds in [[(4, true), (4, false), (3, true)], [(8, true), (6, false), (5, true)]] {
      let weights = try kinds.map { bits, isSymmetric in
        try LinearTests.codes(
          bits: bits, group: 64, isSymmetric: isSymmetric, rows: 20, columns: 192, &generator)
      }
      let x = RowBuffer(generator.normals(13 * 192), rows: 13, columns: 192)
      for input in [InputQuantization(.int8Block), .float32] {
        func product(_ weights: [Weight]) throws -> [Float] {
          let matrix = try PanelMatrix(packing: weights)
          #expect(matrix.encoding.isQuantized && matrix.isExact && matrix.blockLength == 64)
          let y = RowBuffer(rows: 13, columns: matrix.rows)
          unsafe table.linear(
            x.view, matrix, into: y.view, activations: input, workspace: Workspace(), pool: pool)
          return y.values
        }
        let joined = try product(weights)
        for (number, weight) in weights.enumerated() {
          let alone = try product([weight])
          let part = (0..<13).flatMap { row -> ArraySlice<Float> in
            let start = row * 60 + number * 20
            return joined[start..<start + 20]
          }
          #expect(bits(part) == bits(alone), "\(kinds[number]), \(input.scheme)")
        }
      }
    }
  }

  /// Matrices beside each other are what they are alone, and stay when the arena is gone.
  @Test func anArenaHoldsMatrices() throws {
    var generator = SeededGenerator(seed: 66)
    let weights = try (0..<9).map { _ in
      try LinearTests.dense(.f32, rows: 300, columns: 512, &generator)
    }
    var arena: WeightArena? = WeightArena()
    let matrices = try weights.map { try PanelMatrix(packing: [$0], in: arena) }
    arena = nil
    let regions = Set(matrices.map { ObjectIdentifier($0.storage.region) })
    #expect(regions.count < matrices.count && regions.count > 1, "\(regions.count) regions")
    #expect(arena == nil)
    for (matrix, weight) in zip(matrices, weights) {
      #expect(try bits(PanelMatrixTests.decoded(matrix)) == bits(weight.decoded().values))
    }
  }
}
