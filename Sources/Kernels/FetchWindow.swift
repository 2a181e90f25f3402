import CKernels
import Synchronization

extension ThreadPool {
  /// Memory that a thread fetches into its cache while it has nothing to do, block by block in turn from two places.
  @safe
  public struct Expectation: Sendable {
    /// Where one place begins, and the other, which may be the same.
    let places: (UInt, UInt)
    /// Bytes of both together.
    let byteCount: Int
  }
}

/// What a thread may fetch, written by the caller of runs and read by the thread. Whatever mixture of old and new a thread sees is
/// harmless, since fetching reads nothing.
final class FetchWindow: Sendable {
  private static let blockLength = 1024
  private let first = Atomic<UInt>(0)
  private let second = Atomic<UInt>(0)
  private let blockCount = Atomic<Int>(0)
  private let next = Atomic<Int>(0)
  /// Keeps what two threads write out of one line of their caches.
  private let distance = CacheDistance()

  func open(_ expectation: ThreadPool.Expectation?) {
    blockCount.store(0, ordering: .relaxed)
    first.store(expectation?.places.0 ?? 0, ordering: .relaxed)
    guard let expectation else { return }
    second.store(expectation.places.1, ordering: .relaxed)
    next.store(0, ordering: .relaxed)
    blockCount.store(expectation.byteCount / Self.blockLength, ordering: .relaxed)
  }

  /// Where the thread reads next; 0 when nobody has said it.
  var place: UInt { first.load(ordering: .relaxed) }

  /// Fetches one more block, or rests.
  func fetch() {
    let block = next.load(ordering: .relaxed)
    guard block < blockCount.load(ordering: .relaxed) else { return ck_pause() }
    next.store(block + 1, ordering: .relaxed)
    let start = block % 2 == 0 ? first.load(ordering: .relaxed) : second.load(ordering: .relaxed)
    let place = start &+ UInt(block / 2 * Self.blockLength)
    unsafe ck_fetch(UnsafeRawPointer(bitPattern: place), Self.blockLength)
  }
}
