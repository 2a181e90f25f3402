import Glibc
import Kernels
import TestSupport
import Testing

/// Operations on rows: near the true values (in double), and the same bits for every instruction set.
struct RowOperationTests {
  static let pool = ThreadPool(threadCount: 2, isPinned: false)
  static let columns = [1, 3, 15, 16, 17, 64, 100, 1025]

  /// Values over the whole useful range, special ones among them.
  static func inputs(_ count: Int, seed: UInt64) -> [Float] {
    var generator = SeededGenerator(seed: seed)
    let special: [Float] = [
      0, -0.0, 1e-20, -1e-20, 20, -20, 90, -90, 104, -104, 0x1p-149, 0.55, -0.55, 1, -1, 4, -4.1,
    ]
    return (0..<count).map { index in
      if index % 9 == 4 { return special[(index / 9) % special.count] }
      let scale: [Float] = [0.1, 1, 5, 30]
      return generator.normal() * scale[index % scale.count]
    }
  }

  struct Operation: Sendable, CustomTestStringConvertible {
    let name: String
    let tolerance: Double
    let run: @Sendable (KernelTable, RowBuffer, RowBuffer, RowBuffer) -> Void
    let value: @Sendable (Double, Double) -> Double
    var testDescription: String { name }
  }

  static let operations: [Operation] = [
    Operation(
      name: "add", tolerance: 1e-7,
      run: { unsafe $0.add($1.view, $2.view, into: $3.view, pool: pool) }, value: { $0 + $1 }),
    Operation(
      name: "multiply", tolerance: 1e-7,
      run: { unsafe $0.multiply($1.view, $2.view, into: $3.view, pool: pool) }, value: { $0 * $1 }),
    Operation(
      name: "scale", tolerance: 1e-7,
      run: { unsafe $0.scale($1.view, by: 1.7, into: $3.view, pool: pool) },
      value: { a, _ in a * Double(Float(1.7)) }),
    Operation(
      name: "silu", tolerance: 6e-7,
      run: { unsafe $0.silu($1.view, into: $3.view, pool: pool) }, value: { a, _ in a / (1 + exp(-a)) }),
    Operation(
      name: "relu", tolerance: 1e-7,
      run: { unsafe $0.relu($1.view, into: $3.view, pool: pool) }, value: { a, _ in max(a, 0) }),
    Operation(
      name: "sigmoid", tolerance: 6e-7,
      run: { unsafe $0.sigmoid($1.view, into: $3.view, pool: pool) }, value: { a, _ in 1 / (1 + exp(-a)) }),
    Operation(
      name: "clamp", tolerance: 1e-7,
      run: { unsafe $0.clamp($1.view, -1.5, 2, into: $3.view, pool: pool) },
      value: { a, _ in min(max(a, -1.5), 2) }),
    Operation(
      name: "swiglu", tolerance: 6e-7,
      run: { unsafe $0.swiglu(gate: $1.view, up: $2.view, into: $3.view, pool: pool) },
      value: { a, b in a / (1 + exp(-a)) * b }),
    Operation(
      name: "softcap", tolerance: 6e-7,
      run: { unsafe $0.softcap($1.view, cap: 30, into: $3.view, pool: pool) },
      value: { a, _ in 30 * tanh(a / 30) }),
  ]

  @Test(arguments: instructionSets, [2, 4, 8, 16, 32, 64, 256, 2048])
  func hadamardBlocks(set: InstructionSet, block: Int) throws {
    let table = try table(set)
    let (rows, columns) = (5, 3 * block)
    let x = RowOperationTests.inputs(rows * columns, seed: 22).map { Float(max(-1e3, min(1e3, $0))) }
    let input = RowBuffer(x, rows: rows, columns: columns)
    let output = RowBuffer(rows: rows, columns: columns)
    unsafe table.hadamard(input.view, block: block, into: output.view, pool: Self.pool)
    for (index, value) in output.values.enumerated() where index % 37 == 0 {
      let start = index / block * block
      let expected = (0..<block).reduce(0.0) { sum, k in
        sum + Double(x[start + k]) * ((k & (index - start)).nonzeroBitCount % 2 == 0 ? 1 : -1)
      }
      #expect(abs(Double(value) - expected / Double(block).squareRoot()) < 1e-3, "\(index)")
    }
    #expect(output.isGuarded)
    // In place, and by plain C: the same bits.
    unsafe table.hadamard(input.view, block: block, into: input.view, pool: Self.pool)
    #expect(bits(input.values) == bits(output.values))
    let portable = RowBuffer(x, rows: rows, columns: columns)
    unsafe KernelTable.available[0].hadamard(
      portable.view, block: block, into: portable.view, pool: Self.pool)
    #expect(bits(portable.values) == bits(output.values))
  }

  @Test(arguments: instructionSets, operations)
  func matchesDouble(set: InstructionSet, operation: Operation) throws {
    let table = try table(set)
    for columns in RowOperationTests.columns {
      for rows in [1, 3, columns > 1000 ? 40 : 5] {
        let a = RowOperationTests.inputs(rows * columns, seed: 20)
        let b = RowOperationTests.inputs(rows * columns, seed: 21)
        let target = RowBuffer(rows: rows, columns: columns)
        operation.run(
          table, RowBuffer(a, rows: rows, columns: columns),
          RowBuffer(b, rows: rows, columns: columns, padding: 2),
          target)
        let expected = zip(a, b).map { operation.value(Double($0), Double($1)) }
        #expect(
          relativeError(target.values, expected, floor: 1e-28) < operation.tolerance, "\(rows)x\(columns)")
        #expect(target.isGuarded)
        let portable = RowBuffer(rows: rows, columns: columns)
        operation.run(
          KernelTable.available[0], RowBuffer(a, rows: rows, columns: columns),
          RowBuffer(b, rows: rows, columns: columns), portable)
        #expect(bits(target.values) == bits(portable.values))
      }
    }
  }

  /// GELU cancels for negative inputs, so its error is measured against the size of the input.
  @Test(arguments: instructionSets, KernelTable.GELU.allCases)
  func gelu(set: InstructionSet, kind: KernelTable.GELU) throws {
    let table = try table(set)
    let a = RowOperationTests.inputs(2000, seed: 22)
    let found = RowBuffer(rows: 8, columns: 250)
    unsafe table.gelu(
      RowBuffer(a, rows: 8, columns: 250).view, kind, into: found.view, pool: RowOperationTests.pool)
    for (x, y) in zip(a.map(Double.init), found.values) {
      let expected =
        switch kind {
        case .tanh: x / 2 * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        case .none: x / 2 * (1 + erf(x / 2.0.squareRoot()))
        case .sigmoid: x / (1 + exp(-Double(Float(1.702)) * x))
        }
      #expect(abs(Double(y) - expected) <= 3e-7 * abs(x) + 1e-44, "\(x)")
    }
    let portable = RowBuffer(rows: 8, columns: 250)
    unsafe KernelTable.available[0].gelu(
      RowBuffer(a, rows: 8, columns: 250).view, kind, into: portable.view,
      pool: RowOperationTests.pool)
    #expect(bits(found.values) == bits(portable.values))
  }

  @Test(arguments: instructionSets)
  func exponentialIsAccurate(set: InstructionSet) throws {
    // In softmax of (0, x) with x far below, the sum is 1 and the second result is exp(x) alone.
    let table = try table(set)
    let count = 20_000
    var x = [Float](repeating: 0, count: 2 * count)
    for row in 0..<count { x[2 * row + 1] = -17 - 70 * Float(row) / Float(count) }
    let found = RowBuffer(rows: count, columns: 2)
    unsafe table.softmax(
      RowBuffer(x, rows: count, columns: 2).view, into: found.view, pool: RowOperationTests.pool)
    var worst = 0.0
    for row in 0..<count {
      let power = exp(Double(x[2 * row + 1]))
      let expected = power / (1 + power)
      worst = max(worst, abs(Double(found.row(at: row)[1]) - expected) / expected)
    }
    #expect(worst < 1.8e-7, "1.5 units in the last place")
  }

  @Test(arguments: instructionSets)
  func normalization(set: InstructionSet) throws {
    let table = try table(set)
    var generator = SeededGenerator(seed: 23)
    for columns in RowOperationTests.columns {
      let rows = 4
      let a = generator.normals(rows * columns)
      let b = generator.normals(rows * columns)
      let weight = generator.normals(columns)
      func run(_ table: KernelTable) -> (sum: [Float], normal: [Float], alone: [Float]) {
        let sum = RowBuffer(rows: rows, columns: columns)
        let normal = RowBuffer(rows: rows, columns: columns, padding: 1)
        let alone = RowBuffer(rows: rows, columns: columns)
        unsafe weight.withUnsafeBufferPointer { weight in
          guard let start = weight.baseAddress else { return }
          unsafe table.addRMSNorm(
            RowBuffer(a, rows: rows, columns: columns).view, RowBuffer(b, rows: rows, columns: columns).view,
            weight: start, epsilon: 1e-5, sum: sum.view, into: normal.view, pool: RowOperationTests.pool)
          unsafe table.rmsNorm(
            sum.view, weight: start, epsilon: 1e-5, into: alone.view, pool: RowOperationTests.pool)
        }
        #expect(sum.isGuarded && normal.isGuarded)
        return (sum.values, normal.values, alone.values)
      }
      let found = run(table)
      #expect(bits(found.sum) == bits(zip(a, b).map(+)))
      #expect(bits(found.alone) == bits(found.normal))
      #expect(bits(found.normal) == bits(run(KernelTable.available[0]).normal))
      var expected: [Double] = []
      for row in 0..<rows {
        let x = found.sum[row * columns..<(row + 1) * columns].map(Double.init)
        let factor = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(columns) + Double(Float(1e-5))).squareRoot()
        expected += zip(x, weight).map { $0 * factor * Double($1) }
      }
      #expect(relativeError(found.normal, expected, floor: 1e-20) < 1e-6)
    }
  }

  /// Layer and RMS norms of heads, with gains of their own or shared, with a shift or without.
  @Test(arguments: instructionSets)
  func normalizationOfHeads(set: InstructionSet) throws {
    var generator = SeededGenerator(seed: 31)
    for (width, heads, isShared) in [
      (1, 1, false), (17, 1, false), (64, 3, true), (15, 4, false), (100, 2, true),
    ] {
      let (rows, columns) = (3, width * heads)
      let x = generator.normals(rows * columns).map { $0 * 3 + 1 }
      let gains = generator.normals(isShared ? width : columns)
      let shifts = generator.normals(gains.count)
      for (isLayer, hasShift) in [(false, false), (true, false), (true, true)] {
        func run(_ table: KernelTable) -> [Float] {
          let y = RowBuffer(rows: rows, columns: columns, padding: 1)
          let from = RowBuffer(x, rows: rows, columns: columns)
          unsafe gains.withUnsafeBufferPointer { gains in
            guard let start = gains.baseAddress else { return }
            if isLayer {
              unsafe shifts.withUnsafeBufferPointer { shifts in
                unsafe table.layerNorm(
                  from.view, weight: start, weightCount: gains.count,
                  bias: hasShift ? shifts.baseAddress : nil,
                  epsilon: 1e-5, heads: heads, into: y.view, pool: RowOperationTests.pool)
              }
            } else {
              unsafe table.rmsNorm(
                from.view, weight: start, weightCount: gains.count, epsilon: 1e-5, heads: heads, into: y.view,
                pool: RowOperationTests.pool)
            }
          }
          #expect(y.isGuarded)
          return y.values
        }
        let found = run(try table(set))
        #expect(bits(found) == bits(run(KernelTable.available[0])))
        var expected: [Double] = []
        for head in 0..<rows * heads {
          let part = x[head * width..<(head + 1) * width].map(Double.init)
          let mean = isLayer ? part.reduce(0, +) / Double(width) : 0
          let variance = part.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
          for (column, value) in part.enumerated() {
            let place = isShared ? column : head % heads * width + column
            expected.append(
              (value - mean) / (variance + Double(Float(1e-5))).squareRoot() * Double(gains[place])
                + (hasShift ? Double(shifts[place]) : 0))
          }
        }
        let worst = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? 0
        #expect(worst < 4e-5, "\(width) x \(heads), layer \(isLayer)")
      }
    }
  }

  @Test(arguments: instructionSets)
  func softmaxArgmaxAndLogSumExp(set: InstructionSet) throws {
    let table = try table(set)
    var generator = SeededGenerator(seed: 24)
    for columns in [1, 2, 16, 33, 1024, 5000] {
      var x = generator.normals(columns).map { $0 * 8 }
      if columns > 20 { x[7] = x.max() ?? 0 }
      let source = RowBuffer(x, rows: 1, columns: columns)
      let target = RowBuffer(rows: 1, columns: columns)
      unsafe table.softmax(source.view, into: target.view, pool: RowOperationTests.pool)
      let total = x.map { exp(Double($0)) }.reduce(0, +)
      #expect(relativeError(target.values, x.map { exp(Double($0)) / total }, floor: 1e-35) < 5e-6)
      let found = unsafe table.logSumExp(source.view[0], count: columns)
      #expect(abs(found - log(total)) < 1e-6 * max(1, abs(log(total))))
      #expect(unsafe table.argmax(source.view[0], count: columns) == x.firstIndex(of: x.max() ?? 0))
      #expect(unsafe found == KernelTable.available[0].logSumExp(source.view[0], count: columns))
    }
    let odd = RowBuffer([.nan, -3, .nan, 2, 2, -.infinity], rows: 1, columns: 6)
    #expect(unsafe table.argmax(odd.view[0], count: 6) == 3)
    let none = RowBuffer([Float](repeating: -.infinity, count: 20), rows: 1, columns: 20)
    #expect(unsafe table.argmax(none.view[0], count: 20) == 0)
    #expect(unsafe table.logSumExp(none.view[0], count: 20) == -.infinity)
  }

  @Test(arguments: instructionSets, [true, false])
  func rotaryEmbedding(set: InstructionSet, isInterleaved: Bool) throws {
    let table = try table(set)
    var generator = SeededGenerator(seed: 25)
    let positions: [Int32] = [0, 1, 2, 17, 511, 4095, 131_071, 1_000_000]
    for (heads, dimension, pairs) in [(3, 8, 4), (2, 48, 24), (1, 64, 32), (2, 80, 16), (4, 2, 1)] {
      let frequencies = (0..<pairs).map { Float(pow(10_000, -Double($0) / Double(pairs))) }
      let columns = heads * dimension
      let x = generator.normals(positions.count * columns)
      func run(_ table: KernelTable, inPlace: Bool) -> [Float] {
        let source = RowBuffer(x, rows: positions.count, columns: columns)
        let target = inPlace ? source : RowBuffer(rows: positions.count, columns: columns, padding: 2)
        unsafe positions.withUnsafeBufferPointer { positions in
          unsafe frequencies.withUnsafeBufferPointer { frequencies in
            guard let position = positions.baseAddress, let frequency = frequencies.baseAddress else {
              return
            }
            unsafe table.rope(
              source.view, positions: position, inverseFrequencies: frequency, pairs: pairs, heads: heads,
              headDimension: dimension, isInterleaved: isInterleaved, magnitude: 1.25, into: target.view,
              workspace: Workspace(), pool: RowOperationTests.pool)
          }
        }
        #expect(target.isGuarded)
        return target.values
      }
      let found = run(table, inPlace: false)
      #expect(bits(found) == bits(run(table, inPlace: true)))
      #expect(bits(found) == bits(run(KernelTable.available[0], inPlace: false)))
      var expected = x.map(Double.init)
      for (token, position) in positions.enumerated() {
        for head in 0..<heads {
          for pair in 0..<pairs {
            let base = token * columns + head * dimension
            let (i, j) =
              isInterleaved ? (base + 2 * pair, base + 2 * pair + 1) : (base + pair, base + pairs + pair)
            let angle = Double(Float(position) * frequencies[pair])
            let (a, b) = (Double(x[i]), Double(x[j]))
            expected[i] = (a * cos(angle) - b * sin(angle)) * 1.25
            expected[j] = (b * cos(angle) + a * sin(angle)) * 1.25
          }
        }
      }
      let error = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? 0
      #expect(error < 2e-6, "\(heads) heads of \(dimension)")
    }
  }
}
