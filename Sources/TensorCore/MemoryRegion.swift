import Synchronization

/// Immutable bytes that somebody keeps alive: a mapped file, or a buffer that is filled once.
///
/// Reference semantics keep a mapping open as long as any tensor looks at it.
@safe
public final class MemoryRegion: @unchecked Sendable {
  /// Writes the bytes of a region.
  public typealias Fill = @Sendable (UnsafeMutableRawBufferPointer) -> Void

  /// Where the bytes lie; nil until a region that waits for its first reader is filled.
  private let base: Atomic<UnsafeRawPointer?>
  private let pending: Mutex<Fill?>
  private let release: @Sendable (UnsafeRawPointer, Int) -> Void
  private let discard: (@Sendable (UnsafeRawBufferPointer) -> Void)?
  /// Length in bytes.
  public let byteCount: Int

  /// Adopts `byteCount` bytes at `base`, which `release` frees or unmaps; nothing may write to them any more.
  /// - Parameter discard: drops some of the bytes from memory, for regions that can bring them back.
  public init(
    adopting base: UnsafeRawPointer, byteCount: Int,
    discard: (@Sendable (UnsafeRawBufferPointer) -> Void)? = nil,
    release: @escaping @Sendable (UnsafeRawPointer, Int) -> Void
  ) {
    unsafe self.base = unsafe Atomic(base)
    unsafe pending = unsafe Mutex(nil)
    self.byteCount = byteCount
    unsafe self.release = unsafe release
    unsafe self.discard = unsafe discard
  }

  /// Promises `byteCount` bytes, zeroed and then written by `fill` when they are first asked for, once, on the thread
  /// that asks. So a checkpoint whose layout is not ours can be opened without reading its weights.
  public static func deferred(byteCount: Int, fill: @escaping Fill) -> MemoryRegion {
    unsafe MemoryRegion(pending: fill, byteCount: byteCount)
  }

  private init(pending fill: @escaping Fill, byteCount: Int) {
    unsafe base = unsafe Atomic(nil)
    unsafe pending = unsafe Mutex(fill)
    self.byteCount = byteCount
    unsafe release = { pointer, _ in unsafe pointer.deallocate() }
    unsafe discard = nil
  }

  /// Copies `bytes` into a region of its own, aligned to 64 bytes.
  public convenience init(copying bytes: some Collection<UInt8>) {
    unsafe self.init(byteCount: bytes.count) { buffer in
      unsafe buffer.copyBytes(from: bytes)
    }
  }

  /// Allocates zeroed bytes aligned to 64 and lets `fill` write them.
  public convenience init<E: Error>(
    byteCount: Int, fill: (UnsafeMutableRawBufferPointer) throws(E) -> Void
  ) throws(E) {
    let start = unsafe MemoryRegion.allocate(byteCount: byteCount)
    do {
      try unsafe fill(UnsafeMutableRawBufferPointer(start: start, count: byteCount))
    } catch {
      unsafe start.deallocate()
      throw error
    }
    unsafe self.init(adopting: UnsafeRawPointer(start), byteCount: byteCount) { pointer, _ in
      unsafe pointer.deallocate()
    }
  }

  deinit {
    if let start = unsafe base.load(ordering: .acquiring) { unsafe release(start, byteCount) }
  }

  private static func allocate(byteCount: Int) -> UnsafeMutableRawPointer {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(byteCount, 1), alignment: 64)
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
    guard let start = buffer.baseAddress else {
      preconditionFailure("allocation without an address")
    }
    return unsafe start
  }

  /// The bytes, for as long as the region is alive: the caller must keep a reference to it.
  public var unsafeBytes: UnsafeRawBufferPointer {
    let start = unsafe base.load(ordering: .acquiring) ?? filled()
    return unsafe UnsafeRawBufferPointer(start: start, count: byteCount)
  }

  /// Fills the region unless another thread did while this one waited.
  private func filled() -> UnsafeRawPointer {
    unsafe pending.withLock { fill in
      if let start = unsafe base.load(ordering: .acquiring) { return unsafe start }
      let start = unsafe MemoryRegion.allocate(byteCount: byteCount)
      unsafe fill?(UnsafeMutableRawBufferPointer(start: start, count: byteCount))
      unsafe fill = nil
      unsafe base.store(UnsafeRawPointer(start), ordering: .releasing)
      return UnsafeRawPointer(start)
    }
  }

  /// Says that these bytes will not be needed for a while: a mapped file gives up their memory until they are read again.
  public func discard(_ range: Range<Int>) {
    guard let discard = unsafe discard, let start = unsafe base.load(ordering: .acquiring) else { return }
    let range = range.clamped(to: 0..<byteCount)
    unsafe discard(UnsafeRawBufferPointer(start: start + range.lowerBound, count: range.count))
  }

  /// Runs `body` on the bytes.
  public func withBytes<Result, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> Result
  ) throws(E) -> Result {
    let bytes = unsafe unsafeBytes
    let result = try unsafe body(bytes)
    withExtendedLifetime(self) {}
    return result
  }
}
