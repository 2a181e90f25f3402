import Codecs
import Glibc
import Kernels
import TensorCore
import TestSupport
import Testing

/// Memory that waiting threads fetch: the same results, wherever it is.
struct ExpectingTests {
  private func matrix(rows: Int, columns: Int, seed: UInt64) throws -> PanelMatrix {
    var generator = SeededGenerator(seed: seed)
    let values = generator.normals(rows * columns)
    return try PanelMatrix(packing: [.dense(try Tensor(values, shape: Shape([rows, columns])))])
  }

  /// Few rows, of which each thread makes a share, give what one thread gives, whatever the threads fetch meanwhile.
  @Test(arguments: [1, 2, 3, 5]) func resultsDoNotDependOnWhatIsExpected(threads: Int) throws {
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    let alone = ThreadPool(threadCount: 1)
    let workspace = Workspace()
    for (number, rows) in [1, 31, 64, 130, 700, 2048].enumerated() {
      let w = try matrix(rows: rows, columns: 48, seed: UInt64(number))
      let gates = try matrix(rows: 2 * rows, columns: 48, seed: UInt64(number + 100))
      for tokens in [1, 4, 5] {
        var generator = SeededGenerator(seed: UInt64(tokens))
        let x = RowBuffer(generator.normals(tokens * 48), rows: tokens, columns: 48)
        let results = [alone, pool].map { pool in
          let y = RowBuffer(rows: tokens, columns: rows)
          let z = RowBuffer(rows: tokens, columns: rows)
          let expectations = KernelTable.expectations(of: gates, isGated: true, pool: pool)
          #expect(expectations.count <= pool.threadCount)
          #expect(expectations.isEmpty == (rows < 16), "a matrix without whole panels of both has none")
          pool.expect(expectations)
          unsafe KernelTable.best.linear(x.view, w, into: y.view, workspace: workspace, pool: pool)
          pool.expect(KernelTable.expectations(of: w, isGated: false, pool: pool))
          unsafe KernelTable.best.linearGated(
            x.view, gates, product: .swiglu, into: z.view, workspace: workspace, pool: pool)
          #expect(y.isGuarded && z.isGuarded)
          return y.values + z.values
        }
        #expect(results[0] == results[1], "\(rows) rows, \(tokens) tokens")
      }
    }
  }

  /// The same for every way to store weights, on every instruction set: what follows the last panels, another matrix, is only fetched.
  @Test(arguments: instructionSets) func whatFollowsChangesNothing(set: InstructionSet) throws {
    let table = try table(set)
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    let alone = ThreadPool(threadCount: 1)
    var generator = SeededGenerator(seed: 64)
    let input = InputQuantization(.int8Block)
    // Whole fours of panels, and fewer; panels shorter and longer than what is fetched ahead.
    for (rows, columns) in [(64, 96), (192, 2048), (272, 160), (400, 768)] {
      let weights: [Weight] = [
        try LinearTests.dense(.bf16, rows: rows, columns: columns, &generator),
        try LinearTests.dense(.f16, rows: rows, columns: columns, &generator),
        try LinearTests.codes(
          bits: 4, group: 32, isSymmetric: true, rows: rows, columns: columns, &generator),
        try LinearTests.codes(
          bits: 8, group: 32, isSymmetric: false, rows: rows, columns: columns, &generator),
      ]
      let other = try matrix(rows: 640, columns: 32, seed: 7)
      for weight in weights {
        let w = try PanelMatrix(packing: [weight])
        let x = RowBuffer(generator.normals(columns), rows: 1, columns: columns)
        let results = [(alone, false), (alone, true), (pool, false), (pool, true)].map { pool, isExpecting in
          let (y, z) = (RowBuffer(rows: 1, columns: rows), RowBuffer(rows: 1, columns: rows / 2))
          pool.expect(isExpecting ? KernelTable.expectations(of: other, isGated: false, pool: pool) : [])
          unsafe table.linear(
            x.view, w, into: y.view, activations: input, workspace: Workspace(), pool: pool)
          unsafe table.linearGated(
            x.view, w, product: .swiglu, into: z.view, activations: input, workspace: Workspace(), pool: pool)
          #expect(y.isGuarded && z.isGuarded)
          return bits(y.values + z.values)
        }
        #expect(results.allSatisfy { $0 == results[0] }, "\(w.encoding) \(rows)x\(columns)")
      }
    }
  }

  /// What was expected may be gone when a thread has time for it.
  @Test func memoryThatIsGoneDoesNoHarm() throws {
    let pool = ThreadPool(threadCount: 3, isPinned: false)
    for round in 0..<20 {
      let expectations = KernelTable.expectations(
        of: try matrix(rows: 4096, columns: 64, seed: UInt64(round)), isGated: false, pool: pool)
      pool.expect(expectations)
      pool.run(taskCount: 7) { _ in }
      usleep(20)
    }
    pool.expect([])
    pool.run(taskCount: 7) { _ in }
  }
}
