import Kernels
import Synchronization
import TensorCore

/// The rows of a weight in parts that threads take one by one.
enum RowTasks {
  /// Parts that are small enough to keep threads busy to the end. They do not depend on the number of threads, nor do sums over
  /// them.
  static func ranges(_ shape: Shape) -> [Range<Int>] {
    let elements = min(max(shape.elementCount / 32, 1 << 16), 1 << 19)
    let step = max(1, elements / max(shape.columns, 1))
    return stride(from: 0, to: shape.rows, by: step).map { $0..<min($0 + step, shape.rows) }
  }

  /// Parts whose pages are given up together: each time costs a system call that stops all threads for a moment.
  static let releasedCount = 16
}

extension ThreadPool {
  /// Runs a task on the rows of a weight, part by part, on all threads; gives the results in the order of the rows.
  /// - Parameter release: told of rows that no task reads any more; from any thread.
  /// - Throws: what the first task in that order throws; the others run to their end.
  package func mapRows<Result: Sendable>(
    of shape: Shape, _ task: (Range<Int>) throws -> Result, release: (Range<Int>) -> Void = { _ in }
  ) throws -> [Result] {
    let ranges = RowTasks.ranges(shape)
    let groups = ranges.indices.filter { $0 % RowTasks.releasedCount == 0 }.map {
      $0..<min($0 + RowTasks.releasedCount, ranges.count)
    }
    let left = Mutex(groups.map(\.count))
    return try map(count: ranges.count) { index in
      let result = Swift.Result { try task(ranges[index]) }
      let group = index / RowTasks.releasedCount
      let isLast = left.withLock { left in
        left[group] -= 1
        return left[group] == 0
      }
      if isLast {
        let parts = groups[group]
        release(ranges[parts.lowerBound].lowerBound..<ranges[parts.upperBound - 1].upperBound)
      }
      return try result.get()
    }
  }
}
