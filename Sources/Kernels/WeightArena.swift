import CKernels
import Glibc
import TensorCore

/// Memory in which matrices too small for large pages of their own lie beside each other, so that they share some: a token's
/// pass over weights meets many matrices, and each small page costs a walk through the system's tables.
///
/// Not for several threads at a time. The memory goes when the last matrix in it does.
@safe
public final class WeightArena {
  /// Bytes of the pages that are asked for at a time; the system provides those that are written to.
  private static let chunkByteCount = 1 << 26

  private var chunk: (base: UnsafeMutableRawPointer, region: MemoryRegion)?
  private var used = 0
  /// Bytes that matrices before asked for: a few of them are not worth a large page.
  private var asked = 0

  /// An empty arena.
  public init() {}

  @safe
  struct Place {
    let region: MemoryRegion
    let offset: Int
    let bytes: UnsafeMutableRawBufferPointer
  }

  /// Zeroed bytes, aligned to 64; nil where memory of their own is better.
  func place(_ byteCount: Int) -> Place? {
    asked += byteCount
    guard asked >= LargeMemory.threshold, byteCount < LargeMemory.threshold else { return nil }
    if unsafe chunk == nil || used + byteCount > WeightArena.chunkByteCount {
      unsafe chunk = unsafe LargeMemory.map(WeightArena.chunkByteCount)
      used = 0
    }
    guard let chunk = unsafe chunk else { return nil }
    let offset = used
    used += (byteCount + 63) / 64 * 64
    return unsafe Place(
      region: chunk.region, offset: offset,
      bytes: UnsafeMutableRawBufferPointer(start: chunk.base + offset, count: byteCount))
  }
}
