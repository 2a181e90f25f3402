import CKernels

/// What becomes of memory that is freed.
public enum FreedMemory {
  /// Gives blocks of 256 KiB and more back to the system as soon as they are freed, for all of the process.
  ///
  /// Calibration keeps and drops values of every window in turn: left between others, what was dropped adds a sixth to the
  /// peak. Where memory is not handed out by glibc nothing changes.
  public static func returnAtOnce() { _ = ck_return_freed_blocks(256 << 10) }
}
