import Glibc
import TensorCore

/// Looks at files and directories.
public enum FileReading {
  /// All bytes of a file.
  /// - Throws: as ``MappedFile/open(_:limit:)``.
  public static func readAll(
    _ path: String, limit: Int = Limits.standard.maxDocumentBytes
  ) throws(SafeIOError) -> [UInt8] {
    let region = try MappedFile.open(path, limit: limit)
    return unsafe region.withBytes { unsafe Array($0) }
  }

  /// Whether there is something at `path`; a link to nothing is nothing.
  public static func exists(_ path: String) -> Bool { status(path) != nil }

  /// Whether there is a directory at `path`.
  public static func isDirectory(_ path: String) -> Bool {
    status(path).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
  }

  /// Size of a file in bytes.
  /// - Throws: ``SafeIOError/missing(file:)``.
  public static func size(_ path: String) throws(SafeIOError) -> Int {
    guard let status = status(path) else { throw .missing(file: path) }
    return Int(status.st_size)
  }

  /// Whether both paths lead to the same file, also by links.
  public static func isSameFile(_ first: String, _ second: String) -> Bool {
    guard let first = status(first), let second = status(second) else { return false }
    return first.st_ino == second.st_ino && first.st_dev == second.st_dev
  }

  /// Names of what a directory holds, sorted by their bytes.
  /// - Throws: ``SafeIOError/missing(file:)`` or `.unreadable`.
  public static func list(_ path: String) throws(SafeIOError) -> [String] {
    guard let stream = unsafe opendir(path) else {
      let code = errno
      if code == ENOENT { throw .missing(file: path) }
      throw .unreadable(file: path, operation: "list", code: code)
    }
    defer { unsafe closedir(stream) }
    var names: [ExactString] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(ExactString(name)) }
    }
    return names.sorted().map(\.text)
  }

  /// The part of a path after its last slash.
  public static func fileName(_ path: String) -> String {
    path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[path.index(after: $0)...]) } ?? path
  }

  /// The part of a path before its last slash; `.` when there is none.
  public static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The absolute path without links; nil when there is nothing.
  public static func resolved(_ path: String) -> String? {
    guard !path.utf8.contains(0), let text = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(text) }
    return unsafe String(cString: text)
  }

  /// The path of the file `name` of `directory`, for a name that comes from a file.
  /// - Throws: ``SafeIOError/outsideDirectory(file:name:)`` unless it is a plain name that stays inside.
  static func path(of name: String, in directory: String) throws(SafeIOError) -> String {
    let isPlain =
      !name.isEmpty && name != "." && name != ".." && !name.utf8.contains { $0 == 0 || $0 == 0x2F }
    guard isPlain else { throw .outsideDirectory(file: directory, name: name) }
    let path = directory + "/" + name
    var status = stat()
    guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return path }
    guard let target = resolved(path) else { throw .missing(file: path) }
    guard let root = resolved(directory) else { throw .missing(file: directory) }
    if target.hasPrefix(root + "/") { return target }
    let parent = FileReading.directory(of: root)
    let blobs = FileReading.directory(of: parent) + "/blobs/"
    if fileName(parent) == "snapshots" && target.hasPrefix(blobs) { return target }
    throw .outsideDirectory(file: directory, name: name)
  }

  private static func status(_ path: String) -> stat? {
    var status = stat()
    guard !path.utf8.contains(0), unsafe stat(path, &status) == 0 else { return nil }
    return status
  }
}
