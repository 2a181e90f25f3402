import TensorCore

/// A codec whose parameters can be fitted to some columns of a matrix and whose values can then be rounded one by one
/// on what was fitted: all that a method needs that rounds one column after another, whatever the bits look like.
///
/// Fitting is encoding: ``fit(_:sharedScale:importance:search:)`` of `fitLength` columns gives a matrix whose parameters are
/// those of the columns and whose codes may be replaced. ``assemble(_:rows:columns:codes:)`` puts fits side by side.
public protocol ColumnwiseCodec: Codec {
  /// How the columns of a matrix of this width share parameters; nil when columns do not follow each other in groups.
  func columnLayout(columns: Int) -> ColumnLayout?

  /// The values that codes stand for on a grid of scale 1.
  var levels: CodeLevels { get }

  /// Whether rows share parameters beyond ``sharedScale(of:)``, so that only a whole matrix can be fitted.
  var sharesParametersAcrossRows: Bool { get }

  /// What multiplies all scales of a matrix, chosen from the whole of it; nil when there is no such number.
  func sharedScale(of matrix: FloatMatrix) -> Float?

  /// Chooses the parameters of some columns, and rounds them.
  /// - Parameters:
  ///   - part: whole fits of `fitLength` columns; the last of a row may be shorter.
  ///   - sharedScale: that of the matrix to which the part belongs.
  ///   - importance: weight of each column's squared error; nil for equal weights.
  ///   - search: how scales are chosen.
  /// - Throws: ``CodecError``.
  func fit(
    _ part: FloatMatrix, sharedScale: Float?, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix

  /// The grids of a matrix, `[rows, grids]` row-major.
  func grids(of matrix: EncodedMatrix) -> [Grid]

  /// The codes of a matrix, `[rows, columns]`: places in the ``levels``, or steps of the grid.
  func codes(of matrix: EncodedMatrix) -> [UInt8]

  /// The matrix with the parameters of `fits`, which lie side by side, and these codes.
  /// - Throws: ``CodecError``.
  func assemble(_ fits: [EncodedMatrix], rows: Int, columns: Int, codes: [UInt8]) throws(CodecError)
    -> EncodedMatrix
}

extension ColumnwiseCodec {
  /// Rows have parameters of their own unless the codec says otherwise.
  public var sharesParametersAcrossRows: Bool { false }

  /// There is none unless the codec says otherwise.
  public func sharedScale(of matrix: FloatMatrix) -> Float? { nil }

  /// Encodes the part.
  public func fit(
    _ part: FloatMatrix, sharedScale: Float?, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try encode(part, importance: importance, search: search)
  }
}

/// How columns share parameters.
public struct ColumnLayout: Sendable, Hashable {
  /// Columns whose parameters are chosen together: a group, or a block; the last of a row may be shorter.
  public var fitLength: Int
  /// Columns that share a grid; whole grids make a fit.
  public var gridLength: Int

  /// Creates a layout.
  public init(fitLength: Int, gridLength: Int) {
    self.fitLength = fitLength
    self.gridLength = gridLength
  }

  /// Grids of a row.
  public func gridCount(columns: Int) -> Int { Checked.ceilingQuotient(columns, gridLength) }
}

/// The values of codes on a grid of scale 1.
public struct CodeLevels: Sendable, Hashable {
  /// Ascending values of the places; empty when codes are whole steps.
  public let values: [Float]
  /// Halfway between neighbours; a value above belongs to the upper one.
  public let bounds: [Float]

  /// Codes are whole steps: `scale * (code - zero) + offset` for 0 to the grid's largest.
  public static let steps = CodeLevels(values: [])

  /// Codes are places in a table: `scale * values[code]`.
  public init(values: [Float]) {
    self.values = values
    bounds = values.indices.dropLast().map { (values[$0] + values[$0 + 1]) / 2 }
  }

  /// Whether codes are whole steps.
  public var areSteps: Bool { values.isEmpty }
}

/// The grid of some columns of a row. Codes that are steps, `0...maximumCode`, stand for
/// `scale * (code - zero) + offset`; places in a table of levels stand for `scale * level`.
public struct Grid: Sendable, Equatable {
  /// Step of the grid; finite, may be negative or zero where the codec allows it.
  public var scale: Float
  /// The code that stands for `offset`.
  public var zero: Float
  /// Largest code.
  public var maximumCode: Float
  /// Value of the code `zero`.
  public var offset: Float

  /// Creates a grid.
  public init(scale: Float, zero: Float, maximumCode: Float, offset: Float = 0) {
    self.scale = scale
    self.zero = zero
    self.maximumCode = maximumCode
    self.offset = offset
  }

  /// The code nearest to `value`; ties go to the even code, NaN to code 0.
  @inlinable
  public func code(_ value: Float) -> Float {
    guard scale != 0 else { return zero }
    return min(maximumCode, max(0, roundToEven((value - offset) / scale) + zero))
  }

  /// The value of a code.
  @inlinable
  public func value(_ code: Float) -> Float { scale * (code - zero) + offset }

  /// The value that `value` is rounded to.
  @inlinable
  public func rounded(_ value: Float) -> Float { self.value(code(value)) }
}
