import TensorCore

/// A tensor that is to be written, made when its turn comes.
public struct GGUFTensorSource: Sendable {
  /// How its elements are stored.
  public let type: GGUFTensorType
  /// Dimensions, outermost first.
  public let shape: Shape
  /// Makes the bytes, one piece after the other.
  let produce: @Sendable (_ write: (Tensor) throws -> Void) throws -> Void

  /// Announces a tensor whose bytes come in pieces, so that less than the whole is in memory at a time; a producer may
  /// use as many threads as it likes for a piece.
  ///
  /// - Parameters:
  ///   - type: how the elements are stored.
  ///   - shape: dimensions, outermost first.
  ///   - pieces: hands the bytes to its argument, in order; the element type of the pieces is of no matter.
  public init(
    type: GGUFTensorType, shape: Shape,
    pieces: @escaping @Sendable (_ write: (Tensor) throws -> Void) throws -> Void
  ) {
    self.type = type
    self.shape = shape
    produce = pieces
  }

  /// Announces a tensor whose bytes `load` makes at once.
  public init(type: GGUFTensorType, shape: Shape, load: @escaping @Sendable () throws -> Tensor) {
    self.init(type: type, shape: shape) { write in try write(load()) }
  }

  /// A tensor of a plain type that is there.
  /// - Throws: `TensorCoreError.unsupportedElementType(_:purpose:)` for types that the format does not have.
  public init(_ tensor: Tensor) throws(TensorCoreError) {
    guard let type = GGUFTensorType.all.first(where: { $0.elementType == tensor.elementType }) else {
      throw .unsupportedElementType(tensor.elementType, purpose: "a tensor of a GGUF file")
    }
    self.init(type: type, shape: tensor.shape) { write in try write(tensor) }
  }
}
