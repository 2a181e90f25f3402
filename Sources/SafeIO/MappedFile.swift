import Glibc
import TensorCore

/// Opens files for reading as memory.
public enum MappedFile {
  /// Maps a regular file read-only; pages come in as they are touched. An empty file gives an empty region.
  ///
  /// A file that another process shortens while it is mapped ends the process with SIGBUS; Adze never writes in place.
  /// - Throws: ``SafeIOError/missing(file:)``, `.unreadable`, `.notRegular`, or `.limit` when it is longer than `limit`.
  public static func open(_ path: String, limit: Int = .max) throws(SafeIOError) -> MemoryRegion {
    try map(descriptor: descriptor(of: path, flags: 0), path: path, limit: limit)
  }

  /// Maps the file `name` of `directory`, where `name` comes from a file and must be a plain name.
  ///
  /// A symbolic link is followed only to a place inside the directory, or to the blobs of a Hugging Face cache when the
  /// directory is one of its snapshots.
  /// - Throws: as ``open(_:limit:)``, and ``SafeIOError/outsideDirectory(file:name:)``.
  public static func open(name: String, in directory: String, limit: Int = .max) throws(SafeIOError)
    -> MemoryRegion
  {
    let path = try FileReading.path(of: name, in: directory)
    return try map(descriptor: descriptor(of: path, flags: O_NOFOLLOW), path: path, limit: limit)
  }

  private static func descriptor(of path: String, flags: Int32) throws(SafeIOError) -> Int32 {
    guard !path.utf8.contains(0) else { throw .missing(file: path) }
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags)
    guard descriptor >= 0 else {
      let code = errno
      if code == ENOENT || code == ENOTDIR { throw .missing(file: path) }
      throw .unreadable(file: path, operation: "open", code: code)
    }
    return descriptor
  }

  private static func map(descriptor: Int32, path: String, limit: Int) throws(SafeIOError) -> MemoryRegion {
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw .unreadable(file: path, operation: "examine", code: errno)
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notRegular(file: path) }
    let byteCount = Int(status.st_size)
    guard byteCount <= limit else {
      throw .limit(file: path, what: "size of the file in bytes", limit: limit, found: byteCount)
    }
    guard byteCount > 0 else { return MemoryRegion(copying: []) }
    let address = unsafe mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw .unreadable(file: path, operation: "map", code: errno)
    }
    return unsafe MemoryRegion(
      adopting: UnsafeRawPointer(address), byteCount: byteCount, discard: { unsafe discard($0) },
      release: { pointer, count in unsafe munmap(UnsafeMutableRawPointer(mutating: pointer), count) })
  }

  /// Gives up the whole pages of a part of a mapping; the file still has them.
  private static func discard(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress else { return }
    let page = UInt(sysconf(Int32(_SC_PAGESIZE)))
    let first = (UInt(bitPattern: start) + page - 1) / page * page
    let end = (UInt(bitPattern: start) + UInt(bytes.count)) / page * page
    guard first < end, let pages = unsafe UnsafeMutableRawPointer(bitPattern: first) else { return }
    unsafe madvise(pages, Int(end - first), MADV_DONTNEED)
  }
}
