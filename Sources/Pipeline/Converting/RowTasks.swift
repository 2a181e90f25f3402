import Kernels
import TensorCore

/// The rows of a weight in parts that threads take one by one.
enum RowTasks {
  /// Parts of a large weight are worth the system calls that bring their pages in and give them up again, which stop all
  /// threads for a moment; those of a small one are enough to keep threads busy. They do not depend on the number of
  /// threads, nor do sums over them.
  static func ranges(_ shape: Shape) -> [Range<Int>] {
    let elements = min(max(shape.elementCount / 8, 1 << 17), 1 << 20)
    let step = max(1, elements / max(shape.columns, 1))
    return stride(from: 0, to: shape.rows, by: step).map { $0..<min($0 + step, shape.rows) }
  }
}

extension ThreadPool {
  /// Runs a task on the rows of a weight, part by part, on all threads; gives the results in the order of the rows.
  /// - Throws: what the first task in that order throws; the others run to their end.
  func mapRows<Result: Sendable>(
    of shape: Shape, _ task: (Range<Int>) throws -> Result
  ) throws -> [Result] {
    let ranges = RowTasks.ranges(shape)
    return try map(count: ranges.count) { try task(ranges[$0]) }
  }
}
