import Kernels

/// Gathers ``InputStatistics`` from windows of inputs; the order of windows is fixed and the work is cut into tiles
/// that do not depend on the number of threads, so the same corpus gives the same bits.
///
/// The second moment is summed in float32, one symmetric tile product a window (OpenBLAS on one thread a tile).
package struct InputObserver {
  private var statistics: InputStatistics
  private static let tile = 256

  package init(columns: Int, withSecondMoment: Bool, withDrift: Bool = false) {
    statistics = InputStatistics(columns: columns, withSecondMoment: withSecondMoment)
    if withDrift { statistics.driftSum = [Float](repeating: 0, count: columns * columns) }
  }

  /// Adds a window: `[rows, columns]` row-major.
  /// - Parameters:
  ///   - reference: the inputs as the unquantized model has them, for the drift.
  ///   - isBorrowed: whether these tokens go to other experts.
  /// - Returns: whether all inputs were finite; nothing is added otherwise.
  package mutating func observe(
    _ inputs: UnsafeBufferPointer<Float>, reference: [Float]? = nil, isBorrowed: Bool = false,
    pool: ThreadPool
  ) -> Bool {
    let columns = statistics.columns
    let rows = columns == 0 ? 0 : inputs.count / columns
    guard rows > 0, let start = inputs.baseAddress else { return true }
    guard unsafe addMoments(start, rows: rows) else { return false }
    if statistics.secondMomentSum != nil { unsafe addSecondMoment(start, rows: rows, pool: pool) }
    if statistics.driftSum != nil, let reference, reference.count == inputs.count {
      guard reference.allSatisfy(\.isFinite) else { return false }
      unsafe addDrift(start, reference, rows: rows, pool: pool)
    }
    statistics.tokenCount += rows
    if isBorrowed { statistics.borrowedTokenCount += rows }
    return true
  }

  private mutating func addMoments(_ inputs: UnsafePointer<Float>, rows: Int) -> Bool {
    let columns = statistics.columns
    var squares = [Float](repeating: 0, count: columns)
    var maxima = statistics.maxima
    for row in 0..<rows {
      let base = unsafe inputs + row * columns
      for column in 0..<columns {
        let value = unsafe base[column]
        squares[column] += value * value
        maxima[column] = max(maxima[column], abs(value))
      }
    }
    guard squares.allSatisfy(\.isFinite) else { return false }
    for column in 0..<columns { statistics.squareSums[column] += Double(squares[column]) }
    statistics.maxima = maxima
    return true
  }

  private mutating func addSecondMoment(_ inputs: UnsafePointer<Float>, rows: Int, pool: ThreadPool) {
    let columns = statistics.columns
    let starts = Array(stride(from: 0, to: columns, by: Self.tile))
    let tiles = starts.flatMap { row in starts.filter { $0 <= row }.map { (row, $0) } }
    unsafe statistics.secondMomentSum?.withUnsafeMutableBufferPointer { sums in
      guard let target = sums.baseAddress else { return }
      let output = unsafe SharedPointer(pointer: target)
      let source = unsafe SharedPointer(pointer: UnsafeMutablePointer(mutating: inputs))
      pool.run(taskCount: tiles.count) { index in
        let (row, column) = tiles[index]
        unsafe BLAS.multiply(
          source.pointer + row, lda: columns, transposingA: true, source.pointer + column, ldb: columns,
          m: min(Self.tile, columns - row), n: min(Self.tile, columns - column), k: rows, beta: 1,
          into: output.pointer + row * columns + column, ldc: columns)
      }
    }
  }

  private mutating func addDrift(
    _ inputs: UnsafePointer<Float>, _ reference: [Float], rows: Int, pool: ThreadPool
  ) {
    let columns = statistics.columns
    var differences = reference
    for index in differences.indices { unsafe differences[index] -= inputs[index] }
    let starts = Array(stride(from: 0, to: columns, by: Self.tile))
    let tiles = starts.flatMap { row in starts.map { (row, $0) } }
    unsafe differences.withUnsafeMutableBufferPointer { differences in
      unsafe statistics.driftSum?.withUnsafeMutableBufferPointer { sums in
        guard let target = sums.baseAddress, let difference = differences.baseAddress else { return }
        let output = unsafe SharedPointer(pointer: target)
        let left = unsafe SharedPointer(pointer: difference)
        let right = unsafe SharedPointer(pointer: UnsafeMutablePointer(mutating: inputs))
        pool.run(taskCount: tiles.count) { index in
          let (row, column) = tiles[index]
          unsafe BLAS.multiply(
            left.pointer + row, lda: columns, transposingA: true, right.pointer + column, ldb: columns,
            m: min(Self.tile, columns - row), n: min(Self.tile, columns - column), k: rows, beta: 1,
            into: output.pointer + row * columns + column, ldc: columns)
        }
      }
    }
  }

  /// The statistics with the upper triangle filled in from the lower.
  package func finish() -> InputStatistics {
    var result = statistics
    let columns = result.columns
    guard result.secondMomentSum != nil else { return result }
    unsafe result.secondMomentSum?.withUnsafeMutableBufferPointer { sums in
      for row in 0..<columns {
        for column in 0..<row { unsafe sums[column * columns + row] = sums[row * columns + column] }
      }
    }
    return result
  }
}

/// A pointer that tasks of a pool may share; each touches its own part.
@unsafe
struct SharedPointer: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Float>
}
