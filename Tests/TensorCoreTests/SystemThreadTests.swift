import Synchronization
import TensorCore
import Testing

@Suite struct SystemThreadTests {
  @Test func bodiesRunOnceAndAreWaitedFor() throws {
    let sum = Mutex(0)
    let threads = (1...20).map { number in SystemThread { sum.withLock { $0 += number } } }
    for thread in threads { try #require(thread).join() }
    #expect(sum.withLock { $0 } == 210)
  }

  @Test func whatABodyHoldsIsGivenBack() throws {
    final class Held: Sendable {}
    weak var held: Held?
    do {
      let object = Held()
      held = object
      try #require(SystemThread { withExtendedLifetime(object) {} }).join()
    }
    #expect(held == nil)
  }
}
