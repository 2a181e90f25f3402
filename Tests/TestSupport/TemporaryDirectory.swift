import Glibc

/// A directory that goes with all it holds when the last reference goes.
public final class TemporaryDirectory: Sendable {
  /// Path of the directory.
  public let path: String

  /// Makes an empty directory.
  public init() {
    var template = Array("/tmp/adze-test-XXXXXX".utf8CString)
    path = unsafe template.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress, let made = unsafe mkdtemp(start) else { return "/tmp" }
      return unsafe String(cString: made)
    }
    precondition(path != "/tmp", "no temporary directory can be made")
  }

  /// Path of an entry.
  public func file(_ name: String) -> String { path + "/" + name }

  /// Writes a file and tells its path.
  @discardableResult
  public func write(_ bytes: [UInt8], to name: String) -> String {
    let descriptor = unsafe open(file(name), O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    precondition(descriptor >= 0, "cannot create \(file(name))")
    let count = unsafe Glibc.write(descriptor, bytes, bytes.count)
    precondition(count == bytes.count, "cannot write \(file(name))")
    close(descriptor)
    return file(name)
  }

  /// Names of the entries, hidden ones too, sorted.
  public var entries: [String] { TemporaryDirectory.entries(path) }

  deinit { TemporaryDirectory.remove(path) }

  private static func entries(_ path: String) -> [String] {
    guard let stream = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  private static func remove(_ path: String) {
    for name in entries(path) {
      let entry = path + "/" + name
      var status = stat()
      if unsafe lstat(entry, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
        remove(entry)
      } else {
        unsafe unlink(entry)
      }
    }
    unsafe rmdir(path)
  }
}
