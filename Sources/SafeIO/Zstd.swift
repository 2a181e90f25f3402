import CZstd
import TensorCore

/// Zstandard frames (RFC 8878) of known size.
public enum Zstd {
  /// Compresses to one frame with content size and checksum; the result depends on input, level and library only.
  /// - Throws: ``SafeIOError/zstandard(problem:)``.
  public static func compress(_ bytes: [UInt8], level: Int32 = 3) throws(SafeIOError) -> [UInt8] {
    let result: Result<[UInt8], SafeIOError> = unsafe bytes.withUnsafeBytes { source in
      do throws(SafeIOError) { return .success(try unsafe compress(source, level: level)) } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Compresses to one frame with content size and checksum.
  /// - Throws: ``SafeIOError/zstandard(problem:)``.
  public static func compress(
    _ source: UnsafeRawBufferPointer, level: Int32 = 3
  ) throws(SafeIOError) -> [UInt8] {
    guard let context = unsafe ZSTD_createCCtx() else {
      throw .zstandard(problem: "no memory to compress with")
    }
    defer { unsafe ZSTD_freeCCtx(context) }
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1)
    var code = 0
    let result = unsafe [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(source.count)) {
      target, count in
      code = unsafe ZSTD_compress2(
        context, target.baseAddress, target.count, source.baseAddress, source.count)
      count = ZSTD_isError(code) == 0 ? code : 0
    }
    guard ZSTD_isError(code) == 0 else { throw failure(code) }
    return result
  }

  /// Decompresses exactly one frame of exactly `expectedByteCount` bytes; nothing beyond that is allocated.
  /// - Throws: ``SafeIOError/zstandard(problem:)`` for damage, another size, a second frame, or bytes after the frame.
  public static func decompress(_ bytes: [UInt8], expectedByteCount: Int) throws(SafeIOError) -> [UInt8] {
    let region = try decompress(MemoryRegion(copying: bytes), expectedByteCount: expectedByteCount)
    return unsafe region.withBytes { unsafe Array($0) }
  }

  /// Decompresses the frame that fills `range` of `region` to a region of its own.
  /// - Throws: ``SafeIOError/zstandard(problem:)`` as above.
  public static func decompress(
    _ region: MemoryRegion, range: Range<Int>? = nil, expectedByteCount: Int
  ) throws(SafeIOError) -> MemoryRegion {
    let range = (range ?? 0..<region.byteCount).clamped(to: 0..<region.byteCount)
    let source = unsafe UnsafeRawBufferPointer(rebasing: region.unsafeBytes[range])
    try unsafe checkFrame(source, expectedByteCount: expectedByteCount)
    let target = UnsafeMutableRawBufferPointer.allocate(byteCount: max(expectedByteCount, 1), alignment: 64)
    guard let start = target.baseAddress else { throw .zstandard(problem: "no memory to decompress to") }
    let code = unsafe ZSTD_decompress(start, expectedByteCount, source.baseAddress, source.count)
    withExtendedLifetime(region) {}
    guard ZSTD_isError(code) == 0, code == expectedByteCount else {
      unsafe target.deallocate()
      throw failure(code)
    }
    return unsafe MemoryRegion(adopting: UnsafeRawPointer(start), byteCount: expectedByteCount) {
      pointer, _ in
      unsafe pointer.deallocate()
    }
  }

  /// Checks magic, content size and length of the only frame before memory is asked for.
  private static func checkFrame(
    _ source: UnsafeRawBufferPointer, expectedByteCount: Int
  ) throws(SafeIOError) {
    guard source.count >= 4, unsafe UInt32(littleEndian: source.loadUnaligned(as: UInt32.self)) == 0xFD2F_B528
    else { throw .zstandard(problem: "not a Zstandard frame") }
    let declared = unsafe ZSTD_getFrameContentSize(source.baseAddress, source.count)
    guard expectedByteCount >= 0, declared == UInt64(expectedByteCount) else {
      throw .zstandard(
        problem: "the frame announces another size than the \(expectedByteCount) bytes expected")
    }
    let frame = unsafe ZSTD_findFrameCompressedSize(source.baseAddress, source.count)
    guard ZSTD_isError(frame) == 0 else { throw failure(frame) }
    guard frame == source.count else { throw .zstandard(problem: "bytes after the frame") }
    // A block of at least 4 bytes gives at most 128 KiB, so a larger announcement is a lie.
    guard expectedByteCount <= (source.count / 4 + 1) * (128 << 10) else {
      throw .zstandard(problem: "the frame is too short for the size it announces")
    }
  }

  private static func failure(_ code: Int) -> SafeIOError {
    guard ZSTD_isError(code) != 0, let name = unsafe ZSTD_getErrorName(code) else {
      return .zstandard(problem: "the frame has another size than announced")
    }
    return .zstandard(problem: unsafe String(cString: name))
  }
}
