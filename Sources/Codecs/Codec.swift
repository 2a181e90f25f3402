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

  /// Checks that the planes have the types and shapes that this codec needs for `rows` by `columns`.
  /// - Throws: ``CodecError/damagedPlane(codec:plane:expected:found:)``.
  func validate(_ matrix: EncodedMatrix) throws(CodecError)

  /// Writes the values of a range of rows, row-major, to `target`; planes were validated before.
  func decode(_ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>)
}

/// A codec whose values lie on a grid given by a few numbers per group of columns, so that a method that rounds
/// one column after another (GPTQ) can use it: fit a group's parameters, round single values, assemble the codes.
public protocol GridCodec: Codec {
  /// Columns that share parameters, for a matrix with `columns` columns; the last group may be shorter.
  func groupLength(columns: Int) -> Int

  /// Chooses the grid of one group.
  /// - Parameters:
  ///   - values: the group's weights.
  ///   - importance: weight of each squared error, as many as values; nil for equal weights.
  ///   - search: how the scale is chosen.
  /// - Returns: parameters as they will be stored (already rounded to the storage type).
  func fitGrid(_ values: Span<Float>, importance: Span<Float>?, search: ScaleSearch) -> Grid

  /// Puts codes and parameters into planes.
  /// - Parameters:
  ///   - codes: `rows * columns` codes, row-major.
  ///   - grids: `rows * groups` parameters, row-major.
  /// - Throws: ``CodecError/scaleOverflow(row:group:scale:type:)``.
  func assemble(rows: Int, columns: Int, codes: [UInt8], grids: [Grid]) throws(CodecError) -> EncodedMatrix
}

/// A uniform grid: code `c` in `0...maximumCode` stands for `scale * (c - zero)`.
public struct Grid: Sendable, Equatable {
  /// Step of the grid, positive and finite.
  public var scale: Float
  /// The code that stands for zero.
  public var zero: Float
  /// Largest code.
  public var maximumCode: Float

  /// Creates a grid.
  public init(scale: Float, zero: Float, maximumCode: Float) {
    self.scale = scale
    self.zero = zero
    self.maximumCode = maximumCode
  }

  /// The code nearest to `value`; ties go to the even code, NaN to code 0.
  @inlinable
  public func code(_ value: Float) -> Float {
    min(maximumCode, max(0, roundToEven(value / scale) + zero))
  }

  /// The value of a code.
  @inlinable
  public func value(_ code: Float) -> Float { scale * (code - zero) }

  /// The value that `value` is rounded to.
  @inlinable
  public func rounded(_ value: Float) -> Float { self.value(code(value)) }
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
