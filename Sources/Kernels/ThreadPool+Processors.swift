import CKernels

extension ThreadPool {
  /// Processors that this process may use, at least 1.
  public static var processorCount: Int { max(1, Int(ck_processor_count())) }
}
