import Glibc
import TensorCore

/// Writes a directory that appears whole or not at all.
public enum AtomicDirectory {
  /// Lets `body` fill a directory beside the destination, then syncs it and renames it to `path`.
  ///
  /// A failure removes the new directory. An existing directory is replaced when it is empty, or when `overwrite` is
  /// set; the old one is then moved aside until the new one is in its place.
  /// - Parameter body: gets the path of the directory to fill.
  /// - Throws: ``SafeIOError``, and what `body` throws.
  public static func write(
    to path: String, overwrite: Bool = false, _ body: (_ temporaryPath: String) throws -> Void
  ) throws {
    var path = path
    while path.utf8.count > 1 && path.hasSuffix("/") { path.removeLast() }
    try checkDestination(path, overwrite: overwrite)
    let temporary = TemporaryName.beside(path)
    guard unsafe mkdir(temporary, 0o777) == 0 else {
      throw SafeIOError.cannotCreate(file: path, operation: "create", code: errno)
    }
    do {
      try body(temporary)
      try synchronize(temporary)
      try publish(temporary, path, overwrite: overwrite)
    } catch {
      remove(temporary)
      throw error
    }
    AtomicFile.synchronizeDirectory(FileReading.directory(of: path))
  }

  private static func checkDestination(_ path: String, overwrite: Bool) throws(SafeIOError) {
    guard FileReading.exists(path) else { return }
    guard FileReading.isDirectory(path) else {
      throw .cannotCreate(file: path, operation: "replace a file by a directory", code: ENOTDIR)
    }
    if overwrite { return }
    guard try FileReading.list(path).isEmpty else { throw .alreadyExists(file: path) }
  }

  private static func publish(_ temporary: String, _ path: String, overwrite: Bool) throws(SafeIOError) {
    if unsafe rename(temporary, path) == 0 { return }
    guard overwrite, errno == ENOTEMPTY || errno == EEXIST else {
      if errno == ENOTEMPTY || errno == EEXIST { throw .alreadyExists(file: path) }
      throw .writeFailed(file: path, operation: "rename", code: errno)
    }
    try replace(path, by: temporary)
  }

  /// Moves the old directory aside, the new one in, and removes the old one; moves it back when that fails.
  private static func replace(_ path: String, by temporary: String) throws(SafeIOError) {
    let aside = TemporaryName.beside(path)
    guard unsafe rename(path, aside) == 0 else {
      throw .writeFailed(file: path, operation: "move the old directory aside", code: errno)
    }
    guard unsafe rename(temporary, path) == 0 else {
      let code = errno
      unsafe rename(aside, path)
      throw .writeFailed(file: path, operation: "rename", code: code)
    }
    remove(aside)
  }

  /// Syncs every file and directory below `path`.
  private static func synchronize(_ path: String) throws(SafeIOError) {
    for name in try FileReading.list(path) {
      let entry = path + "/" + name
      if isRealDirectory(entry) {
        try synchronize(entry)
        continue
      }
      let descriptor = unsafe open(entry, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      guard fsync(descriptor) == 0 || errno == EINVAL else {
        throw .writeFailed(file: entry, operation: "sync", code: errno)
      }
    }
    AtomicFile.synchronizeDirectory(path)
  }

  /// Removes a directory with all it holds, as far as the system allows; links are removed, not followed.
  private static func remove(_ path: String) {
    let names = (try? FileReading.list(path)) ?? []
    for name in names {
      let entry = path + "/" + name
      if isRealDirectory(entry) { remove(entry) } else { unsafe unlink(entry) }
    }
    unsafe rmdir(path)
  }

  private static func isRealDirectory(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }
}
