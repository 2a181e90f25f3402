import Glibc
import Kernels
import Synchronization
import Testing

struct ThreadPoolTests {
  @Test(arguments: [1, 2, 3, 8])
  func everyTaskRunsOnce(threads: Int) {
    let pool = ThreadPool(threadCount: threads, isPinned: threads <= 2)
    for round in 0..<300 {
      let count = round % 37
      let slots = Slots(count)
      pool.run(taskCount: count) { task, worker in
        slots.add(task, worker < threads ? 1 : 1000)
      }
      #expect(slots.values == [Int](repeating: 1, count: count))
      // Sometimes long enough for the threads to fall asleep.
      if round % 100 == 99 { usleep(2000) }
    }
  }

  /// Parts are all of it, begin at multiples of the unit, and follow each other within what a thread goes through by itself.
  @Test(arguments: [1, 2, 3, 8])
  func sharesAreEverythingOnce(threads: Int) {
    let pool = ThreadPool(threadCount: threads, isPinned: false)
    for (round, count) in [0, 1, 3, 4, 5, 17, 64, 250, 1000].enumerated() {
      for unit in [1, 4, 7] {
        let (slots, faults, lasts) = (Slots(count), Slots(1), Slots(threads))
        pool.runShares(of: count, unit: unit) { part, isLast, worker in
          if part.isEmpty || part.lowerBound % unit != 0 || worker >= threads { faults.add(0, 1) }
          if part.upperBound % unit != 0 && part.upperBound != count { faults.add(0, 1) }
          for index in part { slots.add(index, 1) }
          if isLast { lasts.add(worker, 1) }
          // Some are slow, so that others take of their shares.
          if worker == round % threads { usleep(50) }
        }
        #expect(slots.values == [Int](repeating: 1, count: count), "\(count) by \(unit)")
        #expect(faults.values == [0])
        #expect(count == 0 || lasts.values.contains { $0 > 0 })
      }
    }
  }

  /// A thread that hangs does not keep others from what it has not begun.
  @Test func othersTakeWhatASlowThreadHasLeft() {
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    var helped = false
    for _ in 0..<200 where !helped {
      let units = Slots(2)
      pool.runShares(of: 64, unit: 4) { part, _, worker in
        units.add(worker, part.count)
        if worker == 0 { usleep(300) }
      }
      #expect(units.values.reduce(0, +) == 64)
      helped = units.values[1] > 32
    }
    #expect(helped)
  }

  @Test func sharesWithinOtherRunsAreDoneByTheirThread() {
    let pool = ThreadPool(threadCount: 3, isPinned: false)
    let slots = Slots(40)
    pool.run(taskCount: 4) { outer in
      pool.runShares(of: 10, unit: 3) { part, _, _ in for index in part { slots.add(outer * 10 + index, 1) } }
    }
    #expect(slots.values == [Int](repeating: 1, count: 40))
  }

  @Test func nestedAndConcurrentRunsFinish() {
    let pool = ThreadPool(threadCount: 2, isPinned: false)
    let slots = Slots(64)
    pool.run(taskCount: 8) { outer in
      pool.run(taskCount: 8) { inner in slots.add(outer * 8 + inner, 1) }
    }
    #expect(slots.values == [Int](repeating: 1, count: 64))
    let other = ThreadPool(threadCount: 3, isPinned: false)
    let shared = Slots(300)
    other.run(taskCount: 3) { outer in
      for _ in 0..<20 { pool.run(taskCount: 100) { inner in shared.add(outer * 100 + inner, 1) } }
    }
    #expect(shared.values == [Int](repeating: 20, count: 300))
  }

  @Test func sleepingThreadsWake() {
    let pool = ThreadPool(threadCount: 4, isPinned: false)
    pool.run(taskCount: 100) { _ in }
    // Far longer than they spin.
    usleep(20_000)
    let slots = Slots(10)
    pool.run(taskCount: 10) { slots.add($0, 1) }
    #expect(slots.values == [Int](repeating: 1, count: 10))
  }
}

/// Counters that threads may raise.
@safe
final class Slots: @unchecked Sendable {
  private let counters: UnsafeMutablePointer<Atomic<Int>>
  private let count: Int

  init(_ count: Int) {
    self.count = count
    unsafe counters = .allocate(capacity: max(count, 1))
    for index in 0..<count { unsafe (counters + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe counters.deinitialize(count: count)
    unsafe counters.deallocate()
  }

  func add(_ index: Int, _ amount: Int) {
    precondition(index >= 0 && index < count)
    unsafe counters[index].add(amount, ordering: .relaxed)
  }

  var values: [Int] { (0..<count).map { unsafe counters[$0].load(ordering: .relaxed) } }
}
