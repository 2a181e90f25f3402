import Codecs
import OrderedCollections
import TensorCore

/// The weights of a model while a transform rewrites them.
struct EditedWeights {
  private(set) var weights: OrderedDictionary<String, Weight>

  init(_ weights: OrderedDictionary<String, Weight>) { self.weights = weights }

  /// A weight by name.
  /// - Throws: ``PipelineError/weight(_:reason:)``.
  subscript(name: String) -> Weight {
    get throws(PipelineError) {
      guard let weight = weights[name] else {
        throw PipelineError.weight(name, reason: "is not in the checkpoint")
      }
      return weight
    }
  }

  /// A weight that is not quantized.
  /// - Throws: ``PipelineError/weight(_:reason:)``.
  func dense(_ name: String) throws(PipelineError) -> Tensor {
    guard case .dense(let tensor) = try self[name] else {
      throw PipelineError.weight(name, reason: "is quantized already")
    }
    return tensor
  }

  /// Puts values in the place of a weight, or beside the others.
  mutating func store(_ values: [Float], _ name: String, as type: ElementType, shape: Shape) throws {
    weights[name] = .dense(try Self.tensor(values, as: type, shape: shape))
  }

  /// Puts values in the place of a weight.
  mutating func store(_ values: [Float], _ name: String, as type: ElementType) throws {
    try store(values, name, as: type, shape: self[name].shape)
  }

  private static func tensor(_ values: [Float], as type: ElementType, shape: Shape) throws -> Tensor {
    switch type {
    case .bf16:
      try Tensor(
        bytes: values.flatMap { littleEndian(SmallFloat.bfloat16($0)) }, elementType: .bf16, shape: shape)
    case .f16:
      try Tensor(
        bytes: values.flatMap { littleEndian(Float16($0).bitPattern) }, elementType: .f16, shape: shape)
    default: try Tensor(values, shape: shape)
    }
  }

  private static func littleEndian(_ bits: UInt16) -> [UInt8] {
    [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
  }
}
