import CKernels
import Glibc
import Synchronization
import TensorCore

/// Threads that work through numbered tasks; the calling thread is one of them.
///
/// Tasks are claimed from a counter, so which thread runs which is left open: a body must not let results depend on it.
/// Between runs the threads spin for about 50 microseconds, then sleep. A run that begins while another is under way
/// (from a task, or from another thread) works through its tasks on its own thread.
public final class ThreadPool: @unchecked Sendable {
  /// Threads that work, the calling one included.
  public let threadCount: Int
  private let crew: Crew
  private var threads: [SystemThread] = []

  /// Starts `threadCount - 1` threads.
  ///
  /// - Parameters:
  ///   - threadCount: at least 1.
  ///   - isPinned: binds each to a processor of its own, if the process may use as many.
  public init(threadCount: Int, isPinned: Bool = true) {
    precondition(threadCount >= 1, "a pool needs a thread")
    self.threadCount = threadCount
    self.crew = Crew(threadCount: threadCount)
    let pins = isPinned && Int(ck_processor_count()) >= threadCount
    for index in 1..<max(threadCount, 1) {
      // Without a thread left, the pool works with fewer.
      let thread = SystemThread { [crew] in
        if pins { ck_pin_thread(Int32(index)) }
        crew.serve(worker: index)
      }
      if let thread { threads.append(thread) }
    }
  }

  deinit {
    crew.stop()
    for thread in threads { thread.join() }
  }

  /// Runs `body` for every task in `0..<taskCount`, in any order, and returns when all are done.
  public func run(taskCount: Int, _ body: (_ task: Int) -> Void) {
    run(taskCount: taskCount) { task, _ in body(task) }
  }

  /// Runs independent tasks and returns their results in order; of several errors the first in order is thrown.
  public func map<Success>(_ count: Int, _ body: (_ task: Int) throws -> Success) throws -> [Success] {
    var results = [Result<Success, any Error>?](repeating: nil, count: count)
    unsafe results.withUnsafeMutableBufferPointer { results in
      let start = results.baseAddress
      run(taskCount: count) { task in unsafe start?[task] = Result { try body(task) } }
    }
    return try results.compactMap { try $0?.get() }
  }

  /// Runs `body` for every task; `worker` in `0..<threadCount` is the same for no two tasks that run at once.
  public func run(taskCount: Int, _ body: (_ task: Int, _ worker: Int) -> Void) {
    guard taskCount > 0 else { return }
    if threads.isEmpty || taskCount == 1 || !crew.claim() {
      for task in 0..<taskCount { body(task, 0) }
      return
    }
    withoutActuallyEscaping(body) { escapable in
      crew.run(taskCount: taskCount, escapable)
    }
    crew.release()
  }

  /// Runs `body` for parts of `0..<count` that together are all of it: each thread goes through a share of its own from the beginning
  /// to the end, so that it reads memory in one piece, and helps others when it is done.
  ///
  /// - Parameters:
  ///   - unit: parts begin at multiples of it.
  ///   - body: gets a part, whether the thread goes on elsewhere than behind it, and the number of the thread.
  public func runShares(
    of count: Int, unit: Int, _ body: (_ part: Range<Int>, _ isLast: Bool, _ worker: Int) -> Void
  ) {
    guard count > 0 else { return }
    if threads.isEmpty || count <= unit || !crew.claim() { return body(0..<count, true, 0) }
    withoutActuallyEscaping(body) { escapable in
      crew.runShares(of: count, unit: unit, escapable)
    }
    crew.release()
  }

  /// The share of a thread in ``runShares(of:unit:_:)``; empty where there are fewer units than threads.
  func share(of count: Int, unit: Int, _ worker: Int) -> Range<Int> {
    if threads.isEmpty || count <= unit { return worker == 0 ? 0..<count : count..<count }
    return WorkShare.range(worker, of: threadCount, count: count, unit: unit)
  }

  /// What the next run will read, for each thread that there is one for; instead of what was expected before. Threads fetch it while
  /// they wait: for the next run, or for others to finish this one. No result depends on it.
  public func expect(_ expectations: [Expectation]) { crew.expect(expectations) }

  /// Where a thread reads in the next run; nil when nobody has said it.
  func expectedPlace(_ worker: Int) -> UnsafePointer<UInt8>? {
    unsafe UnsafePointer(bitPattern: crew.expectedPlace(worker))
  }
}

/// State that all threads of a pool share.
///
/// `gate` holds the number of the run (upper half), whether it may still be joined (bit 31), and how many threads are
/// in it. A thread joins by raising the count while the bit is set, so the caller never waits for one that woke too late.
@safe
private final class Crew: @unchecked Sendable {
  private static let openBit: UInt64 = 1 << 31
  private static let spinNanoseconds = 50_000

  private let gate = Atomic<UInt64>(0)
  private let next = Atomic<Int>(0)
  private let isBusy = Atomic<Bool>(false)
  private let isStopping = Atomic<Bool>(false)
  private let sleepers = Atomic<Int>(0)
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var taskCount = 0
  private var body: ((Int, Int) -> Void)?
  private let windows: [FetchWindow]
  private let shares: [WorkShare]

  init(threadCount: Int) {
    windows = (0..<threadCount).map { _ in FetchWindow() }
    shares = (0..<threadCount).map { _ in WorkShare() }
    unsafe pthread_mutex_init(mutex, nil)
    unsafe pthread_cond_init(condition, nil)
  }

  deinit {
    unsafe pthread_mutex_destroy(mutex)
    unsafe pthread_cond_destroy(condition)
    unsafe mutex.deallocate()
    unsafe condition.deallocate()
  }

  /// Whether the caller may start a run.
  func claim() -> Bool { !isBusy.exchange(true, ordering: .acquiringAndReleasing) }

  func release() { isBusy.store(false, ordering: .releasing) }

  func run(taskCount: Int, _ body: @escaping (Int, Int) -> Void) {
    self.taskCount = taskCount
    self.body = body
    next.store(0, ordering: .relaxed)
    let number = gate.load(ordering: .relaxed) >> 32 &+ 1
    gate.store(number << 32 | Crew.openBit, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 { wakeAll() }
    work(worker: 0)
    _ = gate.bitwiseAnd(~Crew.openBit, ordering: .acquiringAndReleasing)
    var spins = 0
    while gate.load(ordering: .acquiring) & (Crew.openBit - 1) != 0 {
      windows[0].fetch()
      spins += 1
      if spins % 2048 == 0 { sched_yield() }
    }
    self.body = nil
  }

  func expect(_ expectations: [ThreadPool.Expectation]) {
    for (worker, window) in windows.enumerated() {
      window.open(worker < expectations.count ? expectations[worker] : nil)
    }
  }

  func expectedPlace(_ worker: Int) -> UInt { windows[worker].place }

  /// Each thread works through its own share, then through what others have left of theirs.
  func runShares(of count: Int, unit: Int, _ body: @escaping (Range<Int>, Bool, Int) -> Void) {
    for (worker, share) in shares.enumerated() {
      let range = WorkShare.range(worker, of: shares.count, count: count, unit: unit)
      share.fill(range, unit: unit)
    }
    run(taskCount: shares.count) { [shares] _, worker in
      let own = shares[worker]
      while let part = own.takeFirst() { body(part.range, part.isLast, worker) }
      for step in 1..<shares.count {
        let other = shares[(worker + step) % shares.count]
        while let range = other.takeFromEnd() { body(range, true, worker) }
      }
    }
  }

  func stop() {
    isStopping.store(true, ordering: .sequentiallyConsistent)
    wakeAll()
  }

  /// The life of a thread: wait for a run, join it, work.
  func serve(worker: Int) {
    var seen: UInt64 = 0
    while let number = nextRun(after: seen, windows[worker]) {
      seen = number
      guard join(number) else { continue }
      work(worker: worker)
      gate.subtract(1, ordering: .acquiringAndReleasing)
    }
  }

  private func work(worker: Int) {
    guard let body else { return }
    while true {
      let task = next.add(1, ordering: .relaxed).oldValue
      guard task < taskCount else { return }
      body(task, worker)
    }
  }

  private func join(_ number: UInt64) -> Bool {
    var current = gate.load(ordering: .acquiring)
    while current >> 32 == number, current & Crew.openBit != 0 {
      let (exchanged, original) = gate.weakCompareExchange(
        expected: current, desired: current + 1, ordering: .acquiringAndReleasing)
      if exchanged { return true }
      current = original
    }
    return false
  }

  /// The number of a run later than `seen`; nil when the pool ends.
  private func nextRun(after seen: UInt64, _ window: FetchWindow) -> UInt64? {
    let start = Crew.now()
    repeat {
      for _ in 0..<64 {
        let number = gate.load(ordering: .acquiring) >> 32
        if number != seen { return number }
        window.fetch()
      }
      if isStopping.load(ordering: .acquiring) { return nil }
    } while Crew.now() - start < Crew.spinNanoseconds
    return sleep(after: seen)
  }

  private func sleep(after seen: UInt64) -> UInt64? {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    sleepers.add(1, ordering: .sequentiallyConsistent)
    defer { sleepers.subtract(1, ordering: .sequentiallyConsistent) }
    while true {
      if isStopping.load(ordering: .sequentiallyConsistent) { return nil }
      let number = gate.load(ordering: .sequentiallyConsistent) >> 32
      if number != seen { return number }
      unsafe pthread_cond_wait(condition, mutex)
    }
  }

  private func wakeAll() {
    unsafe pthread_mutex_lock(mutex)
    unsafe pthread_cond_broadcast(condition)
    unsafe pthread_mutex_unlock(mutex)
  }

  private static func now() -> Int {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec &* 1_000_000_000 &+ time.tv_nsec
  }
}
