import OrderedCollections
import TensorCore

/// A quantized weight matrix `[rows, columns]`: the codec that made it and its planes of bits.
public struct EncodedMatrix: Sendable {
  /// The codec, with its parameters.
  public let codec: any Codec
  /// Output features.
  public let rows: Int
  /// Input features.
  public let columns: Int
  /// Named planes, as the codec defines them.
  public let planes: OrderedDictionary<String, Tensor>

  /// Adopts planes after the codec checked them.
  /// - Throws: ``CodecError/damagedPlane(codec:plane:expected:found:)``.
  public init(
    codec: any Codec, rows: Int, columns: Int, planes: OrderedDictionary<String, Tensor>
  ) throws(CodecError) {
    self.codec = codec
    self.rows = rows
    self.columns = columns
    self.planes = planes
    try codec.validate(self)
  }

  /// Bytes of all planes.
  public var byteCount: Int { planes.values.reduce(0) { $0 + $1.byteCount } }

  /// All values.
  public func decoded() -> FloatMatrix {
    var matrix = FloatMatrix(zeros: rows, columns)
    unsafe matrix.values.withUnsafeMutableBufferPointer { target in
      unsafe codec.decode(self, rows: 0..<rows, into: target)
    }
    return matrix
  }
}

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
      try unsafe tensor.decode(elements: rows.lowerBound * columns..<rows.upperBound * columns, into: target)
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
