import Kernels

/// How a program computes.
public struct ExecutionOptions: Sendable {
  /// Arithmetic of quantized linear layers: int8 activations (fast), or float32 (what the stored weights mean exactly).
  public var activations: ActivationPrecision
  /// How keys and values are cached.
  public var cache: KVFormat
  /// Most tokens of one pass; longer inputs are cut.
  public var chunkLength: Int
  /// Kernels to use.
  public var kernels: KernelTable

  /// Creates options.
  public init(
    activations: ActivationPrecision = .int8, cache: KVFormat = .f16, chunkLength: Int = 512,
    kernels: KernelTable = .best
  ) {
    self.activations = activations
    self.cache = cache
    self.chunkLength = max(1, chunkLength)
    self.kernels = kernels
  }

  /// Float32 everywhere: for calibration, and for measuring what weights alone cost.
  public static var reference: ExecutionOptions {
    ExecutionOptions(activations: .float32, cache: .f32)
  }
}
