import CKernels
import Glibc

/// Bytes aligned to 64 that grow on demand and forget their content when they do; zeroed when new.
@safe
final class AlignedBuffer: @unchecked Sendable {
  private(set) var byteCount = 0
  private var base: UnsafeMutableRawPointer?

  deinit { unsafe base?.deallocate() }

  /// The start of at least `byteCount` bytes.
  func reserve(byteCount wanted: Int) -> UnsafeMutableRawPointer {
    if let base = unsafe base, wanted <= byteCount { return unsafe base }
    unsafe base?.deallocate()
    let size = max(64, wanted + wanted / 4)
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: size >= 1 << 22 ? 1 << 21 : 64)
    if size >= 1 << 22 { unsafe ck_advise_large_pages(fresh, size) }
    unsafe fresh.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    unsafe base = fresh
    byteCount = size
    return unsafe fresh
  }

  /// The start of at least `count` floats.
  func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
    unsafe reserve(byteCount: count * MemoryLayout<Float>.stride).assumingMemoryBound(to: Float.self)
  }
}
