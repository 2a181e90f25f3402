import Kernels
import Pipeline
import Synchronization
import TensorCore
import TestSupport
import Testing

@Suite("Rows of a weight as tasks")
struct RowTasksTests {
  @Test("every row is read by one task and released once, after it was read", arguments: [1, 2, 3])
  func releases(threads: Int) throws {
    let pool = ThreadPool(threadCount: threads)
    var generator = SeededGenerator(seed: UInt64(threads))
    for _ in 0..<40 {
      let shape = try Shape([
        Int.random(in: 1...3000, using: &generator), Int.random(in: 1...6000, using: &generator),
      ])
      let state = Mutex(
        (read: [Int](repeating: 0, count: shape.rows), released: [Int](repeating: 0, count: shape.rows)))
      let parts = try pool.mapRows(
        of: shape,
        { rows in
          state.withLock { state in for row in rows { state.read[row] += 1 } }
          return rows.count
        },
        release: { rows in
          state.withLock { state in
            for row in rows {
              state.released[row] += 1
              if state.read[row] != 1 {
                Issue.record("row \(row) of \(shape) is released unread; \(generator)")
              }
            }
          }
        })
      #expect(parts.reduce(0, +) == shape.rows)
      let (read, released) = state.withLock { ($0.read, $0.released) }
      #expect(read.allSatisfy { $0 == 1 } && released.allSatisfy { $0 == 1 }, "\(shape)")
    }
  }

  @Test("the first failure in the order of rows is thrown, and pages are given up all the same")
  func failures() throws {
    let pool = ThreadPool(threadCount: 2)
    let released = Mutex(0)
    let error = #expect(throws: RowFailure.self) {
      _ = try pool.mapRows(
        of: Shape([1000, 4096]),
        { rows in if rows.upperBound > 500 { throw RowFailure(row: rows.lowerBound) } },
        release: { rows in released.withLock { $0 += rows.count } })
    }
    #expect((450...500).contains(error?.row ?? 0))
    #expect(released.withLock { $0 } == 1000)
  }

  private struct RowFailure: Error { let row: Int }
}
