import CKernels
import Glibc
import TensorCore

/// Memory for weights: large pages where there are any, since kernels stream through it.
public enum LargeMemory {
  /// Bytes from which on a region gets pages of its own; that many are one large page.
  public static let threshold = 1 << 21

  /// Zeroed memory that `fill` writes.
  /// - Parameter least: bytes from which on it has pages of its own.
  public static func region(
    byteCount: Int, pagesFrom least: Int = threshold, fill: (UnsafeMutableRawBufferPointer) -> Void
  ) -> MemoryRegion {
    guard byteCount >= least, let pages = unsafe map(byteCount) else {
      return unsafe MemoryRegion(byteCount: byteCount, fill: fill)
    }
    unsafe fill(UnsafeMutableRawBufferPointer(start: pages.base, count: byteCount))
    return unsafe pages.region
  }

  /// Zeroed pages, large ones where the system has them; nil when it gives none.
  static func map(_ byteCount: Int) -> (base: UnsafeMutableRawPointer, region: MemoryRegion)? {
    // Large pages begin at their multiples.
    let whole = byteCount + threshold
    let pages = unsafe mmap(nil, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let pages = unsafe pages, unsafe pages != MAP_FAILED else { return nil }
    let lead = (threshold - Int(bitPattern: pages) % threshold) % threshold
    let base = unsafe pages + lead
    // No more than is used: the last large page would otherwise be one as a whole.
    unsafe ck_advise_large_pages(base, byteCount)
    let region = unsafe MemoryRegion(adopting: UnsafeRawPointer(base), byteCount: byteCount) { start, _ in
      unsafe _ = munmap(UnsafeMutableRawPointer(mutating: start) - lead, whole)
    }
    return unsafe (base, region)
  }
}
