/// Immutable bytes that somebody keeps alive: a mapped file, or a buffer that was filled once.
///
/// Reference semantics keep a mapping open as long as any tensor looks at it.
@safe
public final class MemoryRegion: @unchecked Sendable {
  private let base: UnsafeRawPointer
  private let release: @Sendable (UnsafeRawPointer, Int) -> Void
  /// Length in bytes.
  public let byteCount: Int

  /// Adopts `byteCount` bytes at `base`, which `release` frees or unmaps; nothing may write to them any more.
  public init(
    adopting base: UnsafeRawPointer, byteCount: Int,
    release: @escaping @Sendable (UnsafeRawPointer, Int) -> Void
  ) {
    unsafe self.base = unsafe base
    self.byteCount = byteCount
    unsafe self.release = unsafe release
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
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(byteCount, 1), alignment: 64)
    unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
    guard let start = buffer.baseAddress else { preconditionFailure("allocation without an address") }
    do {
      try unsafe fill(UnsafeMutableRawBufferPointer(start: start, count: byteCount))
    } catch {
      unsafe buffer.deallocate()
      throw error
    }
    unsafe self.init(adopting: UnsafeRawPointer(start), byteCount: byteCount) { pointer, _ in
      unsafe pointer.deallocate()
    }
  }

  deinit { unsafe release(base, byteCount) }

  /// The bytes, for as long as the region is alive: the caller must keep a reference to it.
  public var unsafeBytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base, count: byteCount)
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
