import Kernels

/// Gathers ``InputStatistics`` from windows of inputs; the order of windows is fixed and the work is cut into tiles
/// that do not depend on the number of threads, so the same corpus gives the same bits.
///
/// The second moment is summed in float32, one symmetric tile product a window (OpenBLAS on one thread a tile).
package struct InputObserver {
  private var statistics: InputStatistics
  /// What a leaf begins with.
  private let empty: InputStatistics?
  /// Where the windows come from, cut into leaves; nil when one sum over all of them is wanted.
  private let corpus: WindowSegment?
  private var done = SegmentStack()
  private static let tile = 256

  /// - Parameter corpus: the windows that will be observed, when sums are wanted by segments of them.
  package init(
    columns: Int, withSecondMoment: Bool, withDrift: Bool = false, bySegmentsOf corpus: WindowSegment? = nil
  ) {
    statistics = InputStatistics(columns: columns, withSecondMoment: withSecondMoment)
    if withDrift {
      statistics.driftSum = [Float](repeating: 0, count: columns * columns)
      statistics.driftMomentSum = statistics.driftSum
    }
    empty = corpus == nil ? nil : statistics
    self.corpus = corpus
  }

  /// Says that the next observations are of a window, by its number in the corpus; windows come in order.
  package mutating func reach(window: Int) throws(CalibrationError) {
    guard let corpus else { return }
    while true {
      let start = done.items.last?.segment.windows.upperBound ?? corpus.windows.lowerBound
      let end = (start / WindowSegment.leafLength + 1) * WindowSegment.leafLength
      guard end <= window, end < corpus.windows.upperBound else { return }
      try seal(WindowSegment(corpus: corpus.corpus, windows: start..<end))
    }
  }

  private mutating func seal(_ segment: WindowSegment) throws(CalibrationError) {
    Self.complete(&statistics)
    try done.push(segment, statistics)
    if let empty { statistics = empty }
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
    if statistics.driftSum != nil, let reference, reference.count == inputs.count {
      guard reference.allSatisfy(\.isFinite) else { return false }
      unsafe addDrift(start, reference, rows: rows, pool: pool)
      unsafe addProducts(start, start, rows: rows, to: \.driftMomentSum, pool: pool)
      statistics.driftTokenCount += rows
    } else if statistics.secondMomentSum != nil {
      unsafe addProducts(start, start, rows: rows, to: \.secondMomentSum, pool: pool)
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

  private mutating func addDrift(
    _ inputs: UnsafePointer<Float>, _ reference: [Float], rows: Int, pool: ThreadPool
  ) {
    var differences = reference
    for index in differences.indices { unsafe differences[index] -= inputs[index] }
    unsafe differences.withUnsafeBufferPointer { differences in
      guard let difference = differences.baseAddress else { return }
      unsafe addProducts(difference, inputs, rows: rows, to: \.driftSum, pool: pool)
    }
  }

  /// Adds `leftᵀ right`, tile by tile; of a matrix with itself only tiles on and below the diagonal.
  private mutating func addProducts(
    _ left: UnsafePointer<Float>, _ right: UnsafePointer<Float>, rows: Int,
    to sum: WritableKeyPath<InputStatistics, [Float]?>, pool: ThreadPool
  ) {
    let columns = statistics.columns
    let starts = Array(stride(from: 0, to: columns, by: Self.tile))
    let isSymmetric = unsafe left == right
    let tiles = starts.flatMap { row in starts.filter { !isSymmetric || $0 <= row }.map { (row, $0) } }
    unsafe statistics[keyPath: sum]?.withUnsafeMutableBufferPointer { sums in
      guard let target = sums.baseAddress else { return }
      let output = unsafe SharedPointer(pointer: target)
      let left = unsafe SharedPointer(pointer: UnsafeMutablePointer(mutating: left))
      let right = unsafe SharedPointer(pointer: UnsafeMutablePointer(mutating: right))
      pool.run(taskCount: tiles.count) { index in
        let (row, column) = tiles[index]
        unsafe BLAS.multiply(
          left.pointer + row, lda: columns, transposingA: true, right.pointer + column, ldb: columns,
          m: min(Self.tile, columns - row), n: min(Self.tile, columns - column), k: rows, beta: 1,
          into: output.pointer + row * columns + column, ldc: columns)
      }
    }
  }

  /// What was seen.
  package consuming func finish() throws(CalibrationError) -> ObservedInputs {
    let whole = corpus ?? WindowSegment(corpus: "", windows: 0..<0)
    try reach(window: whole.windows.upperBound)
    let start = done.items.last?.segment.windows.upperBound ?? whole.windows.lowerBound
    try seal(WindowSegment(corpus: whole.corpus, windows: start..<whole.windows.upperBound))
    return ObservedInputs(segments: done.items)
  }

  /// Adds what was seen of the drift's tokens to the second moment, and fills upper triangles in from the lower.
  private static func complete(_ statistics: inout InputStatistics) {
    if let compared = statistics.driftMomentSum {
      for index in compared.indices { statistics.secondMomentSum?[index] += compared[index] }
    }
    mirror(&statistics.secondMomentSum, size: statistics.columns)
    mirror(&statistics.driftMomentSum, size: statistics.columns)
  }

  private static func mirror(_ matrix: inout [Float]?, size: Int) {
    unsafe matrix?.withUnsafeMutableBufferPointer { values in
      for row in 0..<size {
        for column in 0..<row { unsafe values[column * size + row] = values[row * size + column] }
      }
    }
  }
}

/// A pointer that tasks of a pool may share; each touches its own part.
@unsafe
struct SharedPointer: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Float>
}
