import Glibc
import TensorCore

/// A file that grows by whole appends, each on the disk before the next begins, held by one process at a time.
public final class AppendOnlyFile {
  /// Where it lies.
  public let path: String
  private let descriptor: Int32
  private let faults: WriteFaults

  /// Opens a file, or creates it, and takes it for this process.
  /// - Throws: ``SafeIOError/cannotCreate(file:operation:code:)``, also when another process holds it.
  public convenience init(path: String) throws(SafeIOError) { try self.init(path: path, faults: .none) }

  /// As ``init(path:)``, with steps that tests make fail.
  package init(path: String, faults: WriteFaults) throws(SafeIOError) {
    self.path = path
    self.faults = faults
    descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
    guard descriptor >= 0 else {
      throw .cannotCreate(file: path, operation: "open for appending", code: errno)
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      close(descriptor)
      throw .cannotCreate(file: path, operation: "take a file that another run holds", code: code)
    }
  }

  deinit {
    // Closing is not enough while a child process that is just being started shares the descriptor.
    _ = flock(descriptor, LOCK_UN)
    close(descriptor)
  }

  /// Cuts the file to its first `byteCount` bytes; what is appended goes there.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)``.
  public func keep(_ byteCount: Int) throws(SafeIOError) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0, lseek(descriptor, 0, SEEK_END) >= 0 else {
      throw .writeFailed(file: path, operation: "cut", code: errno)
    }
  }

  /// Appends what `body` writes and waits until it is on the disk.
  ///
  /// A failure or the end of the process may leave a part of it at the end of the file.
  /// - Throws: ``SafeIOError``, and what `body` throws.
  public func append(_ body: (inout FileWriter) throws -> Void) throws {
    guard lseek(descriptor, 0, SEEK_END) >= 0 else {
      throw SafeIOError.writeFailed(file: path, operation: "seek", code: errno)
    }
    var writer = FileWriter(descriptor: descriptor, path: path, faults: faults)
    try body(&writer)
    try writer.flush()
    guard faults.code(.synchronize) == nil, fdatasync(descriptor) == 0 else {
      throw SafeIOError.writeFailed(
        file: path, operation: "sync", code: faults.code(.synchronize) ?? errno)
    }
  }

  /// Removes the file's name; the file is gone when nobody holds it any more.
  public func remove() { unsafe _ = unlink(path) }
}
