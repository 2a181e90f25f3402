import OrderedCollections
import TensorCore

/// FP8 codes with a scale for the whole matrix, for each row, or for each square block: `value = fp8 * scale`.
///
/// Planes: `codes` u8 `[rows, columns]`; `scales` `[1]`, `[rows, 1]` or `[ceil(rows / b), ceil(columns / b)]`, of f32, bf16
/// or f16. Values are rounded to the nearest, ties to even, and saturate; a finite value never becomes NaN or infinite.
/// The scale maps the largest magnitude to the largest code (448 or 57344). `leastSquares` also tries scales up to twice as
/// large, which clip nothing but move values against the steps of the format.
public struct Float8Codec: Codec, Hashable {
  /// The format of the codes.
  public enum Format: String, Sendable, CaseIterable {
    /// Four bits of exponent, three of mantissa, up to 448, no infinity.
    case e4m3
    /// Five bits of exponent, two of mantissa, up to 57344.
    case e5m2
  }

  /// What shares a scale.
  public enum Granularity: Sendable, Hashable {
    /// The whole matrix.
    case tensor
    /// A row.
    case channel
    /// A square of so many rows and columns; squares at the edges may be cut.
    case block(Int)
  }

  /// The format of the codes.
  public let format: Format
  /// What shares a scale.
  public let granularity: Granularity
  /// Storage type of scales: f32, bf16 or f16.
  public let scaleType: ElementType

  /// Creates the codec.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)``.
  public init(
    _ format: Format, granularity: Granularity = .channel, scaleType: ElementType = .f32
  ) throws(CodecError) {
    let name = "fp8_\(format.rawValue)"
    guard [.f32, .bf16, .f16].contains(scaleType) else {
      throw .invalidParameters(codec: name, reason: "scales are f32, bf16 or f16, not \(scaleType.name)")
    }
    if case .block(let size) = granularity, !(16...1 << 16).contains(size) {
      throw .invalidParameters(codec: name, reason: "blocks of \(size) are out of range; use 16 to 65536")
    }
    self.format = format
    self.granularity = granularity
    self.scaleType = scaleType
  }

  /// `fp8_e4m3-channel`, `-tensor` or `-b128`; the scale type follows unless it is f32.
  public var canonicalName: String {
    let sharing =
      switch granularity {
      case .tensor: "tensor"
      case .channel: "channel"
      case .block(let size): "b\(size)"
      }
    return "fp8_\(format.rawValue)-\(sharing)" + (scaleType == .f32 ? "" : "-\(scaleType.name)")
  }

  /// Rows of a channel-wise matrix stand for themselves.
  public var isRowwise: Bool { granularity == .channel }

  /// The one scale of a matrix.
  public var sharedPlanes: Set<String> { granularity == .tensor ? ["scales"] : [] }

  /// The largest value of the format.
  var largest: Float { format == .e4m3 ? 448 : 57344 }

  /// Values of the codes.
  public var values: [Float] { format == .e4m3 ? SmallFloat.e4m3Values : SmallFloat.e5m2Values }

  /// Exact storage of a square matrix, in bits per weight, for the granularities whose share of scales depends on the rows.
  public func bitsPerWeight(columns: Int) -> Double {
    let scaleBits = Double(scaleType.bitWidth)
    let width = Double(max(columns, 1))
    switch granularity {
    case .tensor: return 8 + scaleBits / (width * width)
    case .channel: return 8 + scaleBits / width
    case .block(let size):
      let blocks = Double(Checked.ceilingQuotient(max(columns, 1), size))
      return 8 + scaleBits * blocks * blocks / (width * width)
    }
  }

  /// Rows and columns that share a scale.
  func blockSize(rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    switch granularity {
    case .tensor: (max(rows, 1), max(columns, 1))
    case .channel: (1, max(columns, 1))
    case .block(let size): (size, size)
    }
  }

  /// Dimensions of the scales of a matrix.
  public func scaleShape(rows: Int, columns: Int) -> [Int] {
    switch granularity {
    case .tensor: [1]
    case .channel: [rows, 1]
    case .block(let size): [Checked.ceilingQuotient(rows, size), Checked.ceilingQuotient(columns, size)]
    }
  }

  /// Checks the planes; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    try checkSize(matrix)
    try checkPlanes(
      matrix,
      [
        PlaneRequirement("codes", .u8, [matrix.rows, matrix.columns]),
        PlaneRequirement("scales", scaleType, scaleShape(rows: matrix.rows, columns: matrix.columns)),
      ])
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    guard let codes = matrix.planes["codes"], let scales = try? matrix.planes["scales"]?.floats() else {
      return
    }
    let size = blockSize(rows: matrix.rows, columns: matrix.columns)
    let perRow = Checked.ceilingQuotient(matrix.columns, size.columns)
    let values = values
    unsafe codes.withBytes { bytes in
      unsafe values.withUnsafeBufferPointer { values in
        var position = 0
        for row in rows {
          for block in 0..<perRow {
            let scale = scales[row / size.rows * perRow + block]
            for column in block * size.columns..<min((block + 1) * size.columns, matrix.columns) {
              unsafe target[position] = unsafe values[Int(bytes[row * matrix.columns + column])] * scale
              position += 1
            }
          }
        }
      }
    }
  }
}
