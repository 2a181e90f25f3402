import TensorCore

/// Where the codes of a uniform grid are counted from.
public enum UniformOrigin: Sendable, Hashable {
  /// `scale * (code - zero)` with one zero point for all groups.
  case fixed(Int)
  /// `scale * (code - zero)` with a zero point, an integer from 0 to the largest code, per group.
  case zeroPoint
  /// `scale * code + minimum` with a number per group.
  case minimum
}

/// The grid of a codec for matrices of a certain width.
public struct UniformGrid: Sendable, Hashable {
  /// Columns that share parameters; the last group of a row may be shorter.
  public var groupLength: Int
  /// Largest code; the smallest is 0.
  public var maximumCode: Int
  /// Where codes are counted from.
  public var origin: UniformOrigin
  /// Storage type of scales and minimums: f16, bf16 or f32.
  public var scaleType: ElementType

  /// Creates a grid.
  public init(groupLength: Int, maximumCode: Int, origin: UniformOrigin, scaleType: ElementType) {
    self.groupLength = groupLength
    self.maximumCode = maximumCode
    self.origin = origin
    self.scaleType = scaleType
  }
}

/// The parameters of all groups of a matrix, `[rows, groups]` row-major.
public struct UniformParameters: Sendable {
  /// Step of each group; may be negative or zero.
  public var scales: [Float]
  /// Zero points; empty unless the origin is ``UniformOrigin/zeroPoint``.
  public var zeros: [UInt8]
  /// Minimums; empty unless the origin is ``UniformOrigin/minimum``.
  public var minimums: [Float]

  /// Creates parameters.
  public init(scales: [Float], zeros: [UInt8] = [], minimums: [Float] = []) {
    self.scales = scales
    self.zeros = zeros
    self.minimums = minimums
  }
}

/// A codec whose values are evenly spaced within groups of columns, so that its codes can move to another such codec
/// without a change of values: integer groups, the legacy GGML blocks, MLX's affine groups.
public protocol UniformGroupCodec: Codec {
  /// The grid for matrices of this many columns; nil when columns do not follow each other in groups.
  func uniformGrid(columns: Int) -> UniformGrid?

  /// The parameters of all groups.
  func uniformParameters(of matrix: EncodedMatrix) -> UniformParameters

  /// The codes of some rows, one a byte.
  func uniformCodes(of matrix: EncodedMatrix, rows: Range<Int>) -> [UInt8]

  /// Puts codes and parameters, which fit the grid and the storage types, into planes.
  /// - Throws: ``CodecError``.
  func assemble(
    rows: Int, columns: Int, uniformCodes: [UInt8], parameters: UniformParameters
  ) throws(CodecError) -> EncodedMatrix
}
