import TensorCore

/// The type of a tensor: how many bytes a block of how many elements takes.
public struct GGUFTensorType: Sendable, Hashable, CustomStringConvertible {
  /// Number in the file.
  public let id: UInt32
  /// Name as the format's documents spell it.
  public let name: String
  /// Elements of a block; 1 for plain types.
  public let blockCount: Int
  /// Bytes of a block.
  public let blockByteCount: Int
  /// The element type of plain types.
  public let elementType: ElementType?

  private init(
    _ id: UInt32, _ name: String, _ blockCount: Int, _ blockByteCount: Int, _ elementType: ElementType? = nil
  ) {
    self.id = id
    self.name = name
    self.blockCount = blockCount
    self.blockByteCount = blockByteCount
    self.elementType = elementType
  }

  /// The name.
  public var description: String { name }

  /// All types that a file may hold.
  public static let all: [GGUFTensorType] = [
    .init(0, "F32", 1, 4, .f32), .init(1, "F16", 1, 2, .f16), .init(2, "Q4_0", 32, 18),
    .init(3, "Q4_1", 32, 20),
    .init(6, "Q5_0", 32, 22), .init(7, "Q5_1", 32, 24), .init(8, "Q8_0", 32, 34), .init(9, "Q8_1", 32, 36),
    .init(10, "Q2_K", 256, 84), .init(11, "Q3_K", 256, 110), .init(12, "Q4_K", 256, 144),
    .init(13, "Q5_K", 256, 176),
    .init(14, "Q6_K", 256, 210), .init(15, "Q8_K", 256, 292), .init(16, "IQ2_XXS", 256, 66),
    .init(17, "IQ2_XS", 256, 74), .init(18, "IQ3_XXS", 256, 98), .init(19, "IQ1_S", 256, 50),
    .init(20, "IQ4_NL", 32, 18), .init(21, "IQ3_S", 256, 110), .init(22, "IQ2_S", 256, 82),
    .init(23, "IQ4_XS", 256, 136), .init(24, "I8", 1, 1, .i8), .init(25, "I16", 1, 2, .i16),
    .init(26, "I32", 1, 4, .i32), .init(27, "I64", 1, 8, .i64), .init(28, "F64", 1, 8, .f64),
    .init(29, "IQ1_M", 256, 56), .init(30, "BF16", 1, 2, .bf16), .init(34, "TQ1_0", 256, 54),
    .init(35, "TQ2_0", 256, 66), .init(39, "MXFP4", 32, 17), .init(40, "NVFP4", 64, 36),
    .init(41, "Q1_0", 128, 18),
    .init(42, "Q2_0", 64, 18),
  ]

  private static let byID = Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0) })

  /// The type of a number; nil for numbers that were never given or were taken back (4, 5, 31 to 33, 36 to 38).
  public init?(id: UInt32) {
    guard let type = Self.byID[id] else { return nil }
    self = type
  }

  /// Bytes of a tensor of this type.
  /// - Throws: `TensorCoreError` when rows are not whole blocks or the size overflows.
  public func byteCount(_ shape: Shape) throws(TensorCoreError) -> Int {
    guard shape.columns % blockCount == 0 else {
      throw .shapeMismatch(
        expected: "rows of a multiple of \(blockCount) elements", found: "\(shape.columns)")
    }
    return try Checked.product(shape.elementCount / blockCount, blockByteCount)
  }
}
