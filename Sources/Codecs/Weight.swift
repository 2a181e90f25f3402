import TensorCore

/// A weight of a model: plain numbers, or quantized.
public enum Weight: Sendable {
  /// Elements of a floating-point type.
  case dense(Tensor)
  /// A quantized matrix.
  case encoded(EncodedMatrix)

  /// `[out, in]` for matrices.
  public var shape: Shape {
    switch self {
    case .dense(let tensor): tensor.shape
    case .encoded(let matrix): (try? Shape([matrix.rows, matrix.columns])) ?? []
    }
  }

  /// Element type or codec, such as `bf16` or `int4-g128-sym`.
  public var encodingName: String {
    switch self {
    case .dense(let tensor): tensor.elementType.name
    case .encoded(let matrix): matrix.codec.canonicalName
    }
  }

  /// Bytes of storage.
  public var byteCount: Int {
    switch self {
    case .dense(let tensor): tensor.byteCount
    case .encoded(let matrix): matrix.byteCount
    }
  }

  /// Storage bits divided by the number of weights.
  public var bitsPerWeight: Double { Double(byteCount) * 8 / Double(max(shape.elementCount, 1)) }

  /// Writes the values of a range of rows, row-major, to `target`, which must hold them.
  /// - Throws: ``TensorCoreError/unsupportedElementType(_:purpose:)``.
  public func decode(rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) throws(TensorCoreError)
  {
    switch self {
    case .dense(let tensor):
      let columns = tensor.shape.columns
      let elements = rows.lowerBound * columns..<rows.upperBound * columns
      guard [.bf16, .f16].contains(tensor.elementType) else {
        return try unsafe tensor.decode(elements: elements, into: target)
      }
      unsafe BlockKernels.best.widen(tensor, elements, into: target)
    case .encoded(let matrix):
      unsafe matrix.codec.decode(matrix, rows: rows, into: target)
    }
  }

  /// All values as float32.
  /// - Throws: ``TensorCoreError/unsupportedElementType(_:purpose:)``.
  public func decoded() throws(TensorCoreError) -> FloatMatrix {
    switch self {
    case .dense(let tensor):
      try FloatMatrix(rows: tensor.shape.rows, columns: tensor.shape.columns, values: tensor.floats())
    case .encoded(let matrix): matrix.decoded()
    }
  }
}
