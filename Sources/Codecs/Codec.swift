import OrderedCollections
import TensorCore

/// How values become bits: one axis of three, beside the method that chooses the values and the container that stores the bits.
public protocol Codec: Sendable {
  /// Canonical name with every parameter, such as `int4-g128-sym`; ``CodecRegistry/codec(canonicalName:)`` reads it back.
  var canonicalName: String { get }

  /// Exact storage of a matrix with `columns` columns, in bits per weight, scales and zero points included.
  func bitsPerWeight(columns: Int) -> Double

  /// Rounds a matrix to the nearest values that the codec can hold.
  ///
  /// - Parameters:
  ///   - matrix: `[out, in]`, finite.
  ///   - importance: weight of each column's squared error (`in` values), for the choice of scales; nil for equal weights.
  ///   - search: how scales are chosen.
  /// - Throws: ``CodecError``.
  func encode(_ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch) throws(CodecError)
    -> EncodedMatrix

  /// Rounds rows of a stored tensor, as ``encode(_:importance:search:)`` does, without a float32 copy of all of them
  /// where the codec knows how.
  ///
  /// - Parameters:
  ///   - rows: which of the tensor's rows; the result has as many.
  ///   - tensor: elements with a float value, `[..., in]`.
  ///   - importance: weight of each column's squared error (`in` values); nil for equal weights.
  ///   - search: how scales are chosen.
  /// - Throws: ``CodecError``; rows are counted from the first of `rows`.
  func encode(
    rows: Range<Int>, of tensor: Tensor, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix

  /// Whether rows are encoded independently, so that a matrix may be encoded in parts that
  /// ``EncodedMatrix/joined(rows:)`` puts together.
  var isRowwise: Bool { get }

  /// Planes that belong to the matrix as a whole; every other plane has the rows as its first dimension.
  var sharedPlanes: Set<String> { get }

  /// Checks that the planes have the types and shapes that this codec needs for `rows` by `columns`.
  /// - Throws: ``CodecError/damagedPlane(codec:plane:expected:found:)``.
  func validate(_ matrix: EncodedMatrix) throws(CodecError)

  /// Writes the values of a range of rows, row-major, to `target`; planes were validated before.
  func decode(_ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>)
}

extension Codec {
  /// Rows are independent unless the codec says otherwise.
  public var isRowwise: Bool { true }

  /// All planes have rows unless the codec says otherwise.
  public var sharedPlanes: Set<String> { [] }

  /// Encodes by way of float32.
  public func encode(
    rows: Range<Int>, of tensor: Tensor, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    let columns = tensor.shape.columns
    precondition(rows.lowerBound >= 0 && rows.upperBound <= tensor.shape.rows, "rows out of range")
    let matrix: FloatMatrix
    do throws(TensorCoreError) {
      matrix = try FloatMatrix(
        rows: rows.count, columns: columns,
        values: tensor.floats(elements: rows.lowerBound * columns..<rows.upperBound * columns))
    } catch {
      throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message)
    }
    return try encode(matrix, importance: importance, search: search)
  }
}

/// A codec of blocks as the GGML formats have them: every `blockLength` values of a row become `blockByteCount` bytes.
///
/// One plane, `blocks`, u8 `[rows, columns / blockLength * blockByteCount]`, byte for byte as in a GGUF file.
/// The canonical name is the GGML type's in lower case.
public protocol BlockCodec: Codec {
  /// Values of a block.
  var blockLength: Int { get }
  /// Bytes of a block.
  var blockByteCount: Int { get }

  /// Rounds rows of a stored tensor as ``Codec/encode(rows:of:importance:search:)`` does, and writes their blocks to
  /// `target`, which must hold just them.
  /// - Throws: ``CodecError``; rows are counted from the first of `rows`.
  func encode(
    rows: Range<Int>, of tensor: Tensor, importance: [Float]?, search: ScaleSearch,
    into target: UnsafeMutableRawBufferPointer
  ) throws(CodecError)
}

extension BlockCodec {
  /// Bytes of a row of whole blocks.
  public func rowByteCount(columns: Int) -> Int { columns / blockLength * blockByteCount }

  /// Encodes and copies.
  public func encode(
    rows: Range<Int>, of tensor: Tensor, importance: [Float]?, search: ScaleSearch,
    into target: UnsafeMutableRawBufferPointer
  ) throws(CodecError) {
    let matrix = try encode(rows: rows, of: tensor, importance: importance, search: search)
    guard let plane = matrix.planes["blocks"], plane.byteCount == target.count else {
      preconditionFailure("the target must hold the blocks")
    }
    unsafe plane.withBytes { unsafe target.copyMemory(from: $0) }
  }
}

/// A codec some or all of whose matrices are integer groups under another layout.
public protocol IntegerGroupConvertible: Codec {
  /// The same values as integers with scales, exactly; nil when there is no such form.
  func integerGroups(of matrix: EncodedMatrix) -> EncodedMatrix?
}

/// Rounds to the nearest integer, ties to even, without a library call.
///
/// From 2^22 on it is the identity: halves there stay halves, which is far beyond any code.
@inlinable
public func roundToEven(_ value: Float) -> Float {
  let magic: Float = 12_582_912
  let magnitude = abs(value)
  return magnitude < 4_194_304 ? (value + magic) - magic : value
}

/// How the scale of a group is chosen.
public enum ScaleSearch: Sendable, Hashable {
  /// From the extremes of the group: nothing is clipped.
  case extremes
  /// The scale of least (weighted) squared error among `steps` shrunken ranges down to `smallest` times the full
  /// one, then refined in closed form for the codes found.
  case leastSquares(steps: Int, smallest: Float)

  /// The search that methods use unless told otherwise.
  public static let standard = ScaleSearch.leastSquares(steps: 32, smallest: 0.45)
}
