import CKernels
import Synchronization

/// What becomes of memory that is freed, for all of the process. Where memory is not handed out by glibc nothing changes.
public enum FreedMemory {
  private static let isReturned = Atomic(false)

  /// Gives blocks of 256 KiB and more back to the system as soon as they are freed.
  ///
  /// Calibration keeps and drops values of every window in turn: left between others, what was dropped adds a sixth to the
  /// peak.
  public static func returnAtOnce() {
    isReturned.store(true, ordering: .relaxed)
    _ = ck_return_freed_blocks(256 << 10)
  }

  /// Keeps what is freed meanwhile, for work that frees and wants the same sizes over and over: pages from the system are zeroed
  /// and mapped one by one, which can take as long as the work.
  public static func keeping<Result>(during work: () throws -> Result) rethrows -> Result {
    _ = ck_keep_freed_blocks()
    defer { if isReturned.load(ordering: .relaxed) { returnAtOnce() } }
    return try work()
  }
}
