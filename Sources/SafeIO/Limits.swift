/// Bounds on what a file may ask for; all of them far above what real models need.
public struct Limits: Sendable, Equatable {
  /// Bytes of a header that is parsed as a whole (safetensors, packed file).
  public var maxHeaderBytes = 100_000_000
  /// Bytes of a text document that is read as a whole (configuration, tokenizer, index).
  public var maxDocumentBytes = 1 << 30
  /// Nesting of JSON values and of GGUF arrays.
  public var maxJSONDepth = 128
  /// Bytes of one string.
  public var maxStringBytes = 64 << 20
  /// Tensors of one checkpoint.
  public var maxTensors = 10_000_000
  /// Dimensions of one tensor.
  public var maxRank = 64
  /// Bytes of one section after decompression.
  public var maxDecompressedBytes = 1 << 40

  /// The limits of a normal run, which may be changed one by one.
  public init() {}

  /// The limits of a normal run.
  public static let standard = Limits()
}
