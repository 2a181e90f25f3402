import Calibration
import Kernels
import TestSupport
import Testing

@Suite struct InputObserverTests {
  /// Windows of different lengths, `[rows, columns]` each.
  private func windows(_ columns: Int, seed: UInt64) -> [[Float]] {
    var generator = SeededGenerator(seed: seed)
    return [1, 7, 16, 33].map { generator.normals($0 * columns) }
  }

  private func observe(_ windows: [[Float]], columns: Int, threads: Int, secondMoment: Bool = true)
    -> InputStatistics
  {
    var observer = InputObserver(columns: columns, withSecondMoment: secondMoment)
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    for window in windows {
      let isFinite = unsafe window.withUnsafeBufferPointer { unsafe observer.observe($0, pool: pool) }
      #expect(isFinite)
    }
    return observer.total
  }

  @Test(arguments: [1, 3, 255, 256, 257, 300, 513])
  func momentsAreThoseOfPlainLoops(columns: Int) throws {
    let seed = UInt64(columns)
    let windows = windows(columns, seed: seed)
    let found = observe(windows, columns: columns, threads: 2)
    let expected = ReferenceStatistics(windows, columns: columns)
    #expect(found.tokenCount == 57)
    #expect(found.maxima == expected.maxima)
    let sums = try #require(found.secondMomentSum)
    var worst = 0.0
    for row in 0..<columns {
      #expect(abs(found.squareSums[row] - expected.secondMoment[row * columns + row]) <= 1e-4)
      for column in 0..<columns {
        worst = max(
          worst, abs(Double(sums[row * columns + column]) - expected.secondMoment[row * columns + column]))
        if sums[row * columns + column] != sums[column * columns + row] { Issue.record("not symmetric") }
      }
    }
    #expect(worst <= 1e-4, "\(columns) columns, seed \(seed)")
    #expect(found.meanSquares[0] == Float(found.squareSums[0] / 57))
    #expect(found.secondMoment?.count == columns * columns)
    #expect(found.secondMoment?.last.map { abs($0 * 57 - (sums.last ?? 0)) < 1e-3 } == true)
  }

  @Test(arguments: [1, 255, 256, 257, 300, 600])
  func theNumberOfThreadsDoesNotChangeABit(columns: Int) {
    let windows = windows(columns, seed: 5)
    let alone = observe(windows, columns: columns, threads: 1)
    for threads in [2, 3] { #expect(observe(windows, columns: columns, threads: threads) == alone) }
  }

  @Test func withoutSecondMomentsOnlyMomentsAreKept() {
    let windows = windows(12, seed: 6)
    let found = observe(windows, columns: 12, threads: 1, secondMoment: false)
    #expect(found.secondMomentSum == nil && found.secondMoment == nil)
    #expect(found.squareSums == observe(windows, columns: 12, threads: 1).squareSums)
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteInputsAreToldAndNotAdded(value: Float) {
    let pool = ThreadPool(threadCount: 1, isPinned: false)
    var observer = InputObserver(columns: 4, withSecondMoment: true)
    let good: [Float] = [1, 2, 3, 4]
    let bad: [Float] = [1, 2, 3, 4, 5, value, 7, 8]
    #expect(unsafe good.withUnsafeBufferPointer { unsafe observer.observe($0, pool: pool) })
    let before = observer.total
    #expect(unsafe !bad.withUnsafeBufferPointer { unsafe observer.observe($0, pool: pool) })
    #expect(observer.total == before)
    #expect(before.tokenCount == 1)
  }

  @Test func nothingSeenIsZero() {
    let pool = ThreadPool(threadCount: 1, isPinned: false)
    var observer = InputObserver(columns: 3, withSecondMoment: true)
    let none: [Float] = []
    #expect(unsafe none.withUnsafeBufferPointer { unsafe observer.observe($0, pool: pool) })
    let found = observer.total
    #expect(found.tokenCount == 0)
    #expect(found.meanSquares == [0, 0, 0])
    #expect(found.secondMoment == [Float](repeating: 0, count: 9))
  }

  @Test func statisticsOfDifferentKindsAreNotMerged() throws {
    var some = InputStatistics(columns: 3, withSecondMoment: true)
    for other in [
      InputStatistics(columns: 4, withSecondMoment: true),
      InputStatistics(columns: 3, withSecondMoment: false),
    ] {
      #expect(throws: CalibrationError.self) { try some.merge(other) }
    }
    some.tokenCount = Int.max
    var full = some
    #expect(throws: CalibrationError.self) { try full.merge(some) }
  }
}
