import CKernels

/// What becomes of memory that is freed, for all of the process. Where memory is not handed out by glibc nothing changes.
public enum FreedMemory {
  /// Keeps what is freed, for work that frees and wants the same sizes over and over: pages from the system are zeroed and
  /// mapped one by one, which took a seventh of the processor time of GPTQ and can take as long as learned rounding. The peak
  /// grows by a tenth, by what lies free between what is not; what changes its size from stage to stage should have pages of its
  /// own (``LargeMemory``).
  public static func keep() { _ = ck_keep_freed_blocks() }
}
