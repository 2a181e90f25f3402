import GGUF
import OrderedCollections
import TensorCore

/// The number that says roughly how the weights of a file are stored (`general.file_type`).
struct GGUFFileType {
  /// The number.
  let rawValue: UInt32

  /// Numbers by the type of most weights: of files where all matrices inside the blocks have it, and of mixed ones.
  private static let numbers: [String: (pure: UInt32, mixed: UInt32)] = [
    "F32": (0, 0), "F16": (1, 1), "Q4_0": (2, 2), "Q4_1": (3, 3), "Q8_0": (7, 7), "Q5_0": (8, 8),
    "Q5_1": (9, 9), "Q2_K": (10, 10), "Q3_K": (11, 12), "Q4_K": (14, 15), "Q5_K": (16, 17), "Q6_K": (18, 18),
    "IQ2_XXS": (19, 19), "IQ2_XS": (20, 20), "IQ3_XXS": (23, 23), "IQ1_S": (24, 24), "IQ4_NL": (25, 25),
    "IQ3_S": (26, 27), "IQ2_S": (28, 29), "IQ4_XS": (30, 30), "IQ1_M": (31, 31), "BF16": (32, 32),
    "TQ1_0": (36, 36), "TQ2_0": (37, 37), "MXFP4": (38, 38), "NVFP4": (39, 39), "Q1_0": (40, 40),
  ]

  /// The number for these tensors: that of the type with the most weights inside the blocks.
  init(_ tensors: OrderedDictionary<String, GGUFTensorSource>) {
    var weights: OrderedDictionary<String, Int> = [:]
    for (name, tensor) in tensors where name.hasPrefix("blk.") && tensor.shape.rank > 1 {
      weights[tensor.type.name, default: 0] += tensor.shape.elementCount
    }
    let most = weights.max { ($0.value, $1.key) < ($1.value, $0.key) }?.key ?? "F32"
    let numbers = Self.numbers[most] ?? (0, 0)
    rawValue = weights.count > 1 ? numbers.mixed : numbers.pure
  }
}
