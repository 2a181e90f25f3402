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
