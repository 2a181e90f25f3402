import Synchronization

/// The part of some work that a thread does unless others, which are done with theirs, take of it from its end.
final class WorkShare: Sendable {
  /// Units that nobody has taken: the first one (lower half), and the one behind the last (upper half).
  private let left = Atomic<UInt64>(0)
  private let unit = Atomic<Int>(1)
  private let count = Atomic<Int>(0)
  private let distance = CacheDistance()

  /// The share of thread number `worker` of `0..<count`, cut at multiples of `unit`.
  static func range(_ worker: Int, of threads: Int, count: Int, unit: Int) -> Range<Int> {
    let units = (count + unit - 1) / unit
    let (first, end) = (units * worker / threads, units * (worker + 1) / threads)
    return min(first * unit, count)..<min(end * unit, count)
  }

  /// New work, before any thread takes of it.
  func fill(_ range: Range<Int>, unit: Int) {
    self.unit.store(unit, ordering: .relaxed)
    count.store(range.upperBound, ordering: .relaxed)
    let (first, end) = (range.lowerBound / unit, (range.upperBound + unit - 1) / unit)
    left.store(UInt64(first) | UInt64(max(end, first)) << 32, ordering: .relaxed)
  }

  /// Half of what is left, from its beginning, and whether that is the last of it; nil when nothing is left.
  func takeFirst() -> (range: Range<Int>, isLast: Bool)? {
    var (first, end, taken) = (0, 0, 0)
    let isTaken = take { left in
      (first, end) = left
      taken = max(1, (end - first) / 2)
      return (first + taken, end)
    }
    return isTaken ? (range(first, first + taken), first + taken == end) : nil
  }

  /// Half of what is left, from its end; nil when nothing is left.
  func takeFromEnd() -> Range<Int>? {
    var (start, end) = (0, 0)
    let isTaken = take { left in
      end = left.end
      start = end - max(1, (end - left.first) / 2)
      return (left.first, start)
    }
    return isTaken ? range(start, end) : nil
  }

  private func range(_ first: Int, _ end: Int) -> Range<Int> {
    let unit = unit.load(ordering: .relaxed)
    return first * unit..<min(end * unit, count.load(ordering: .relaxed))
  }

  /// Replaces what is left by what the closure makes of it; false when nothing is left.
  private func take(_ rest: ((first: Int, end: Int)) -> (first: Int, end: Int)) -> Bool {
    var current = left.load(ordering: .acquiring)
    while true {
      let (first, end) = (Int(current & 0xFFFF_FFFF), Int(current >> 32))
      guard first < end else { return false }
      let new = rest((first, end))
      let (exchanged, original) = left.weakCompareExchange(
        expected: current, desired: UInt64(new.first) | UInt64(new.end) << 32,
        ordering: .acquiringAndReleasing)
      if exchanged { return true }
      current = original
    }
  }
}

/// As many bytes as two lines of a cache, which processors fetch together.
struct CacheDistance: Sendable {
  private let words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (
    0, 0, 0, 0, 0, 0, 0, 0
  )
  private let more: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (
    0, 0, 0, 0, 0, 0, 0, 0
  )
}
