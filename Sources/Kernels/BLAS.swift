import COpenBLAS

/// The few routines of OpenBLAS that Adze uses, each on the calling thread alone.
///
/// Threads are Adze's own: work is cut into tiles that do not depend on their number and each tile is one call, so that
/// results are the same for any number of threads. OpenBLAS chooses its kernels by processor: bits may differ between
/// processors.
public enum BLAS {
  private static let onCallingThread: Void = openblas_set_num_threads(1)

  /// Which OpenBLAS it is: its version, how it was built and whose kernels it uses.
  public static var configuration: String { unsafe String(cString: openblas_get_config()) }

  /// Row-major `c = alpha * op(a) * op(b) + beta * c` with `op(a)` `[m, k]`, `op(b)` `[k, n]`, `c` `[m, n]`.
  ///
  /// - Parameters:
  ///   - transposingA: whether `a` is stored as `[k, m]`.
  ///   - transposingB: whether `b` is stored as `[n, k]`.
  ///   - lda: elements between stored rows of `a`; likewise `ldb` and `ldc`.
  @unsafe
  public static func multiply(
    _ a: UnsafePointer<Float>, lda: Int, transposingA: Bool = false, _ b: UnsafePointer<Float>, ldb: Int,
    transposingB: Bool = false, m: Int, n: Int, k: Int, alpha: Float = 1, beta: Float = 0,
    into c: UnsafeMutablePointer<Float>, ldc: Int
  ) {
    onCallingThread
    unsafe cblas_sgemm(
      CblasRowMajor, transposingA ? CblasTrans : CblasNoTrans, transposingB ? CblasTrans : CblasNoTrans,
      Int32(m), Int32(n), Int32(k), alpha, a, Int32(lda), b, Int32(ldb), beta, c, Int32(ldc))
  }

  /// Replaces the lower triangle of a symmetric positive definite matrix, column-major, by its Cholesky factor.
  /// - Returns: false when the matrix is not positive definite; its contents are then of no use.
  public static func factorCholesky(_ matrix: inout [Double], size: Int) -> Bool {
    onCallingThread
    var dimension = Int32(size)
    var leading = dimension
    var information: Int32 = 0
    unsafe dpotrf_("L", &dimension, &matrix, &leading, &information)
    return information == 0
  }

  /// Replaces `count` right sides, `[size, count]` column-major, by the solutions for a matrix whose lower Cholesky factor is given.
  @unsafe
  public static func solve(
    factor: UnsafePointer<Double>, size: Int, sides: UnsafeMutablePointer<Double>, count: Int
  ) {
    onCallingThread
    var dimension = Int32(size)
    var leading = dimension
    var columns = Int32(count)
    var information: Int32 = 0
    unsafe dpotrs_("L", &dimension, &columns, factor, &leading, sides, &leading, &information)
  }

  /// Replaces a symmetric positive definite matrix, column-major, by the inverse of its lower Cholesky factor.
  /// - Returns: false when the matrix is not positive definite; its contents are then of no use. Elements above the
  ///   diagonal are neither read nor written.
  public static func invertCholeskyFactor(_ matrix: inout [Double], size: Int) -> Bool {
    onCallingThread
    var dimension = Int32(size)
    var leading = dimension
    var information: Int32 = 0
    unsafe dpotrf_("L", &dimension, &matrix, &leading, &information)
    guard information == 0 else { return false }
    unsafe dtrtri_("L", "N", &dimension, &matrix, &leading, &information)
    return information == 0
  }
}
