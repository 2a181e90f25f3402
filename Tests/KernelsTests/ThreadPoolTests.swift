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
final class Slots: Sendable {
  private let state: Mutex<[Int]>
  init(_ count: Int) { state = Mutex([Int](repeating: 0, count: count)) }
  func add(_ index: Int, _ amount: Int) { state.withLock { $0[index] += amount } }
  var values: [Int] { state.withLock { $0 } }
}
