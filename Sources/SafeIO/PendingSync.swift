import Glibc
import Synchronization
import TensorCore

/// Files that have their names already and go to the disk while other work is done.
///
/// A file is then whole under its name however the process ends, but only after ``finish()`` is it safe from a loss of power too.
/// A replaced file goes away in the same time: giving up its pages takes long when it is large.
public final class PendingSync: Sendable {
  private let work = Mutex<[SyncWork]>([])

  /// Nothing is under way.
  public init() {}

  deinit { _ = Self.failure(of: work.withLock { $0 }) }

  /// Begins to sync files, of which it takes copies of the descriptors; without a thread left, syncs them at once.
  /// - Parameter replaced: descriptors of what had the files' names before, which become its own.
  func begin(_ files: [(descriptor: Int32, path: String)], replaced: [Int32], faults: WriteFaults) {
    let work = SyncWork(
      files: files.map { (dup($0.descriptor), $0.path) }, replaced: replaced, faults: faults)
    work.launch()
    self.work.withLock { $0.append(work) }
  }

  /// Waits until all files are on the disk.
  /// - Throws: ``SafeIOError/writeFailed(file:operation:code:)`` for the first that could not be synced.
  public func finish() throws(SafeIOError) {
    let all = work.withLock { work in
      defer { work = [] }
      return work
    }
    if let failure = Self.failure(of: all) { throw failure }
  }

  private static func failure(of all: [SyncWork]) -> SafeIOError? {
    all.map { $0.join() }.reduce(nil) { $0 ?? $1 }
  }
}

/// Files that one thread syncs.
private final class SyncWork: Sendable {
  private let files: [(descriptor: Int32, path: String)]
  private let replaced: [Int32]
  private let faults: WriteFaults
  private let thread = Mutex<SystemThread?>(nil)
  private let failure = Mutex<SafeIOError?>(nil)

  init(files: [(descriptor: Int32, path: String)], replaced: [Int32], faults: WriteFaults) {
    self.files = files
    self.replaced = replaced
    self.faults = faults
  }

  func launch() {
    guard let started = SystemThread({ self.run() }) else { return run() }
    thread.withLock { $0 = started }
  }

  private func run() {
    for (descriptor, path) in files {
      let code = faults.code(.synchronize) ?? (fsync(descriptor) == 0 ? nil : errno)
      close(descriptor)
      guard let code else { continue }
      failure.withLock { $0 = $0 ?? .writeFailed(file: path, operation: "sync", code: code) }
    }
    for descriptor in replaced { close(descriptor) }
  }

  /// Waits for the end; gives the first failure.
  func join() -> SafeIOError? {
    thread.withLock { $0 }?.join()
    return failure.withLock { $0 }
  }
}
