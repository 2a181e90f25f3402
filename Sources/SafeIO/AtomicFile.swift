import Glibc
import TensorCore

/// Writes a file that appears whole or not at all.
public enum AtomicFile {
  /// Lets `body` write a file without a name in the destination's directory, then syncs it and renames it to `path`.
  ///
  /// A failure, or the end of the process at any moment, leaves the old file or none.
  /// - Parameter byteCount: the size of the result, when it is known: lack of space then shows at once.
  /// - Throws: ``SafeIOError``, and what `body` throws.
  public static func write(
    to path: String, byteCount: Int? = nil, _ body: (inout FileWriter) throws -> Void
  ) throws {
    try write(to: path, byteCount: byteCount, faults: .none, body)
  }

  /// As ``write(to:byteCount:_:)``, with steps that tests make fail.
  package static func write(
    to path: String, byteCount: Int?, faults: WriteFaults, _ body: (inout FileWriter) throws -> Void
  ) throws {
    try write(to: [path], byteCounts: [byteCount], faults: faults) { _, writer in try body(&writer) }
  }

  /// Most files that are written together: each is open until all are whole.
  public static let maximumGroupCount = 512

  /// Writes files that belong together, one after the other: none has its name before all are whole. The first one, without
  /// which the others mean nothing, gets its name last.
  ///
  /// A failure, or the end of the process before the last of them is whole, leaves old files or none.
  /// - Parameters:
  ///   - paths: at most ``maximumGroupCount``.
  ///   - byteCounts: the sizes of the results, where they are known.
  ///   - pending: where given, files get their names at once and are synced by it.
  ///   - body: gets the place of a file in `paths`.
  /// - Throws: ``SafeIOError``, and what `body` throws.
  public static func write(
    to paths: [String], byteCounts: [Int?], pending: PendingSync? = nil,
    _ body: (_ index: Int, inout FileWriter) throws -> Void
  ) throws {
    try write(to: paths, byteCounts: byteCounts, faults: .none, pending: pending, body)
  }

  /// As ``write(to:byteCounts:pending:_:)``, with steps that tests make fail.
  package static func write(
    to paths: [String], byteCounts: [Int?], faults: WriteFaults, pending: PendingSync? = nil,
    _ body: (_ index: Int, inout FileWriter) throws -> Void
  ) throws {
    precondition(paths.count == byteCounts.count && paths.count <= maximumGroupCount)
    for path in paths where FileReading.isDirectory(path) {
      throw SafeIOError.cannotCreate(file: path, operation: "replace a directory by a file", code: EISDIR)
    }
    var files: [TemporaryFile] = []
    defer { for file in files { file.discard() } }
    for (index, path) in paths.enumerated() {
      let file = try TemporaryFile(beside: path, faults: faults)
      files.append(file)
      if let byteCount = byteCounts[index] { try file.reserve(byteCount) }
      var writer = FileWriter(descriptor: file.descriptor, path: path, faults: faults)
      try body(index, &writer)
      try writer.flush()
      try file.seal(byteCount: writer.position)
      if pending == nil { try file.synchronize() }
    }
    let replaced = pending == nil ? [] : paths.map { unsafe open($0, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    do {
      try publish(files)
    } catch {
      for descriptor in replaced where descriptor >= 0 { close(descriptor) }
      throw error
    }
    pending?.begin(
      files.map { ($0.descriptor, $0.destination) }, replaced: replaced.filter { $0 >= 0 }, faults: faults)
  }

  /// Names files from the last to the first; takes the names away again when one cannot be given.
  private static func publish(_ files: [TemporaryFile]) throws(SafeIOError) {
    var published: [TemporaryFile] = []
    do throws(SafeIOError) {
      for file in files.reversed() {
        try file.publish()
        published.append(file)
      }
    } catch {
      for file in published { remove(file.destination) }
      throw error
    }
  }

  /// Writes `bytes` to `path`.
  /// - Throws: ``SafeIOError``.
  public static func write(_ bytes: [UInt8], to path: String) throws {
    try write(to: path) { writer in try writer.write(bytes) }
  }

  /// Takes away a file that was written earlier, as far as the system allows.
  public static func remove(_ path: String) { unsafe unlink(path) }

  /// Syncs the entries of a directory to the disk; a file system that cannot is left alone.
  static func synchronizeDirectory(_ path: String) {
    let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }
}

/// Numbers that keep the temporary names of one process apart.
enum TemporaryName {
  /// A name beside `path` that no other process and no earlier call uses.
  static func beside(_ path: String) -> String {
    var random = SystemRandomNumberGenerator()
    let tag = String(random.next() as UInt64, radix: 36)
    let name = FileReading.fileName(path).prefix(100)
    return FileReading.directory(of: path) + "/." + name + ".partial-\(getpid())-\(tag)"
  }
}

/// A file under construction: without a name where the file system allows, else with a temporary one.
private struct TemporaryFile {
  // Linux: open a file without a name; the C macro is not visible here.
  private static let withoutName = 0o20_000_000 | O_DIRECTORY
  let descriptor: Int32
  let destination: String
  private let temporaryPath: String
  private let isNamed: Bool
  private let faults: WriteFaults

  init(beside destination: String, faults: WriteFaults) throws(SafeIOError) {
    self.faults = faults
    self.destination = destination
    temporaryPath = TemporaryName.beside(destination)
    if let code = faults.code(.create) {
      throw .cannotCreate(file: destination, operation: "create", code: code)
    }
    let directory = FileReading.directory(of: destination)
    let unnamed = unsafe open(directory, TemporaryFile.withoutName | O_RDWR | O_CLOEXEC, 0o666)
    if unnamed >= 0 {
      descriptor = unnamed
      isNamed = false
      return
    }
    descriptor = unsafe open(temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    isNamed = true
    guard descriptor >= 0 else { throw .cannotCreate(file: destination, operation: "create", code: errno) }
  }

  func reserve(_ byteCount: Int) throws(SafeIOError) {
    guard byteCount > 0 else { return }
    let code = faults.code(.allocate) ?? posix_fallocate(descriptor, 0, off_t(byteCount))
    if code == ENOSPC || code == EFBIG || code == EDQUOT {
      throw .writeFailed(file: destination, operation: "reserve \(byteCount) bytes", code: code)
    }
  }

  /// Gives the file its size.
  func seal(byteCount: Int) throws(SafeIOError) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw failure("set the size") }
  }

  /// Brings the whole file to the disk.
  func synchronize() throws(SafeIOError) {
    if let code = faults.code(.synchronize) {
      throw .writeFailed(file: destination, operation: "sync", code: code)
    }
    guard fsync(descriptor) == 0 else { throw failure("sync") }
  }

  /// Gives the file its name.
  func publish() throws(SafeIOError) {
    if !isNamed {
      let source = "/proc/self/fd/\(descriptor)"
      guard unsafe linkat(AT_FDCWD, source, AT_FDCWD, temporaryPath, AT_SYMLINK_FOLLOW) == 0 else {
        throw failure("link")
      }
    }
    if let code = faults.code(.rename) {
      throw .writeFailed(file: destination, operation: "rename", code: code)
    }
    guard unsafe rename(temporaryPath, destination) == 0 else { throw failure("rename") }
    AtomicFile.synchronizeDirectory(FileReading.directory(of: destination))
  }

  /// Closes the file and removes its temporary name, if it still has one.
  func discard() {
    close(descriptor)
    unsafe unlink(temporaryPath)
  }

  private func failure(_ operation: String) -> SafeIOError {
    .writeFailed(file: destination, operation: operation, code: errno)
  }
}
