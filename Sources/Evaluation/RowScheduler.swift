import Kernels

/// How work on the rows of a window is spread over threads. The results are the same for every scheduler.
public struct RowScheduler: Sendable {
  /// Runs a number of tasks, each once, and returns when all are done.
  public typealias RunTasks = @Sendable (_ taskCount: Int, _ task: @Sendable (Int) -> Void) -> Void

  private let runTasks: RunTasks

  /// A scheduler that spreads tasks with `runTasks`, for example a thread pool's function.
  public init(_ runTasks: @escaping RunTasks) { self.runTasks = runTasks }

  /// Spreads tasks over the threads of a pool.
  public init(_ pool: ThreadPool) {
    runTasks = { taskCount, task in pool.run(taskCount: taskCount) { task($0) } }
  }

  /// One task after another on the calling thread.
  public static let serial = RowScheduler { taskCount, task in
    for index in 0..<taskCount { task(index) }
  }

  /// Rows in one task: enough work to be worth waking a thread for, few enough to share out evenly.
  private static let rowsPerTask = 8

  /// Calls `row` for each index below `rowCount` and gives the results in order.
  func map<Result: BitwiseCopyable & Sendable>(
    rowCount: Int, initial: Result, _ row: @Sendable (Int) -> Result
  ) -> [Result] {
    var results = [Result](repeating: initial, count: rowCount)
    unsafe results.withUnsafeMutableBufferPointer { buffer in
      let output = unsafe ResultSlots(buffer)
      let taskCount = (rowCount + RowScheduler.rowsPerTask - 1) / RowScheduler.rowsPerTask
      runTasks(taskCount) { task in
        let first = task * RowScheduler.rowsPerTask
        for index in first..<min(first + RowScheduler.rowsPerTask, rowCount) {
          output.set(row(index), at: index)
        }
      }
    }
    return results
  }
}

/// Places for results, each written by one thread while the array that owns them stands still.
@safe
private struct ResultSlots<Result: BitwiseCopyable>: @unchecked Sendable {
  private let slots: UnsafeMutableBufferPointer<Result>

  init(_ slots: UnsafeMutableBufferPointer<Result>) { unsafe self.slots = slots }

  func set(_ value: Result, at index: Int) {
    unsafe precondition(slots.indices.contains(index))
    unsafe slots[index] = value
  }
}

/// Logits `[rowCount, columnCount]` of one window, lent to several threads for reading.
@safe
struct LogitBlock: @unchecked Sendable {
  private let values: UnsafeBufferPointer<Float>
  let rowCount: Int
  let columnCount: Int

  /// A view of what a runner handed out.
  /// - Throws: `logitCount` when it is not the number asked for.
  init(_ values: UnsafeBufferPointer<Float>, rowCount: Int, columnCount: Int) throws(EvaluationError) {
    guard values.count == rowCount * columnCount else {
      throw .logitCount(expected: rowCount * columnCount, found: values.count)
    }
    unsafe self.values = unsafe values
    self.rowCount = rowCount
    self.columnCount = columnCount
  }

  /// The logits of one row.
  func row(_ index: Int) -> UnsafeBufferPointer<Float> {
    precondition(index >= 0 && index < rowCount)
    return unsafe UnsafeBufferPointer(rebasing: values[index * columnCount..<(index + 1) * columnCount])
  }
}
