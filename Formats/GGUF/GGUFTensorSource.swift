import SafeIO
import TensorCore

/// A tensor that is to be written, made when its turn comes.
public struct GGUFTensorSource: Sendable {
  /// How its elements are stored.
  public let type: GGUFTensorType
  /// Dimensions, outermost first.
  public let shape: Shape
  /// Makes the bytes.
  let produce: @Sendable (GGUFTensorPlace) throws -> Void

  /// Announces a tensor whose bytes come in any order and from any thread, so that little of it is in memory at a time.
  ///
  /// - Parameters:
  ///   - type: how the elements are stored.
  ///   - shape: dimensions, outermost first.
  ///   - parts: writes each byte once.
  public static func inAnyOrder(
    type: GGUFTensorType, shape: Shape, parts: @escaping @Sendable (GGUFTensorPlace) throws -> Void
  ) -> GGUFTensorSource {
    GGUFTensorSource(type: type, shape: shape, produce: parts)
  }

  private init(
    type: GGUFTensorType, shape: Shape, produce: @escaping @Sendable (GGUFTensorPlace) throws -> Void
  ) {
    self.type = type
    self.shape = shape
    self.produce = produce
  }

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
    self.init(
      type: type, shape: shape,
      produce: { place in
        var offset = 0
        try pieces { piece in
          try unsafe piece.withBytes { try unsafe place.write($0, at: offset) }
          offset += piece.byteCount
        }
      })
  }

  /// Announces a tensor whose bytes `load` makes at once.
  public init(type: GGUFTensorType, shape: Shape, load: @escaping @Sendable () throws -> Tensor) {
    self.init(type: type, shape: shape, pieces: { write in try write(load()) })
  }

  /// A tensor of a plain type that is there.
  /// - Throws: `TensorCoreError.unsupportedElementType(_:purpose:)` for types that the format does not have.
  public init(_ tensor: Tensor) throws(TensorCoreError) {
    guard let type = GGUFTensorType.all.first(where: { $0.elementType == tensor.elementType }) else {
      throw .unsupportedElementType(tensor.elementType, purpose: "a tensor of a GGUF file")
    }
    self.init(type: type, shape: tensor.shape, pieces: { write in try write(tensor) })
  }
}

/// Where the bytes of a tensor go in a file that is being written.
public struct GGUFTensorPlace: Sendable {
  let file: String
  let name: String
  let range: RangeWriter

  /// Writes bytes at an offset from the tensor's first; no two calls may write to the same place.
  /// - Throws: ``GGUFError/source(file:name:expected:found:)`` for bytes beyond the tensor's end, `SafeIOError`.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
    guard offset >= 0, offset <= range.byteCount, bytes.count <= range.byteCount - offset else {
      throw GGUFError.source(file: file, name: name, expected: "\(range.byteCount) bytes", found: "more")
    }
    try unsafe range.write(bytes, at: offset)
  }
}
