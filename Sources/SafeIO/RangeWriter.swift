import Glibc
import Synchronization

/// A part of a file of known length whose bytes come in any order, from any thread.
public final class RangeWriter: Sendable {
  /// Length of the part.
  public let byteCount: Int
  private let descriptor: Int32
  private let path: String
  private let start: Int
  private let faults: WriteFaults
  private let written = Atomic<Int>(0)

  init(descriptor: Int32, path: String, start: Int, byteCount: Int, faults: WriteFaults) {
    self.byteCount = byteCount
    self.descriptor = descriptor
    self.path = path
    self.start = start
    self.faults = faults
  }

  /// Bytes written so far.
  public var writtenByteCount: Int { written.load(ordering: .acquiring) }

  /// Writes bytes at an offset from the start of the part, inside of which they must lie; no two calls may write to the
  /// same place.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(SafeIOError) {
    precondition(offset >= 0 && offset <= byteCount && bytes.count <= byteCount - offset, "outside the range")
    try unsafe writeAll(bytes, path: path, faults: faults) { (rest, done) in
      unsafe pwrite(descriptor, rest.baseAddress, rest.count, off_t(start + offset + done))
    }
    written.add(bytes.count, ordering: .acquiringAndReleasing)
  }
}

/// Writes all of `bytes`: short writes are continued, interrupted ones repeated.
/// - Parameter write: writes the bytes that remain, after so many that are written, and gives what the system call gave.
func writeAll(
  _ bytes: UnsafeRawBufferPointer, path: String, faults: WriteFaults,
  _ write: (_ rest: UnsafeRawBufferPointer, _ done: Int) -> Int
) throws(SafeIOError) {
  var done = 0
  while done < bytes.count {
    if let code = faults.code(.write) {
      throw .writeFailed(file: path, operation: "write", code: code)
    }
    let count = unsafe write(UnsafeRawBufferPointer(rebasing: bytes[done...].prefix(1 << 30)), done)
    if count > 0 {
      done += count
    } else if count == 0 || errno != EINTR {
      throw .writeFailed(file: path, operation: "write", code: count == 0 ? ENOSPC : errno)
    }
  }
}
