import OrderedCollections
import TensorCore

/// The 4-bit types of bitsandbytes: codes of a table of 16 values in -1...1, times the scale of a group of columns.
///
/// Planes: `codes` u8 `[rows, ceil(columns / 2)]`, the even column low; `scales` `[rows, groups]` of f32 (or f16, bf16). The scale is
/// the largest magnitude of the group; `leastSquares` searches it. Tables: NF4 is the one of QLoRA (Dettmers et al. 2023,
/// appendix E), quantiles of the normal distribution; FP4 is bitsandbytes' own order of E2M1-like magnitudes.
public struct FourBitFloatCodec: Codec, Hashable {
  /// Which table.
  public enum Kind: String, Sendable, CaseIterable {
    /// Quantiles of the normal distribution.
    case nf4
    /// Two bits of exponent and one of mantissa.
    case fp4

    /// Values of the codes.
    public var values: [Float] {
      switch self {
      case .nf4:
        [
          -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
          -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
          0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
          0.7229568362236023, 1,
        ]
      case .fp4:
        [
          0, 0.0052083333, 0.6666667, 1, 0.33333334, 0.5, 0.16666667, 0.25, -0.0, -0.0052083333, -0.6666667,
          -1, -0.33333334, -0.5, -0.16666667, -0.25,
        ]
      }
    }
  }

  /// Which table.
  public let kind: Kind
  /// Columns that share a scale; nil: the whole row.
  public let groupSize: Int?
  /// Storage type of scales: f32, f16 or bf16.
  public let scaleType: ElementType
  let levelTable: LevelTable

  /// Creates the codec.
  /// - Throws: ``CodecError/invalidParameters(codec:reason:)``.
  public init(_ kind: Kind, groupSize: Int? = 64, scaleType: ElementType = .f32) throws(CodecError) {
    if let groupSize, !(2...1 << 24).contains(groupSize) {
      throw .invalidParameters(
        codec: kind.rawValue,
        reason: "group size \(groupSize) is out of range; use 2 to 16777216, or -1 for whole rows")
    }
    guard [.f16, .bf16, .f32].contains(scaleType) else {
      throw .invalidParameters(
        codec: kind.rawValue, reason: "scales are f32, f16 or bf16, not \(scaleType.name)")
    }
    self.kind = kind
    self.groupSize = groupSize
    self.scaleType = scaleType
    levelTable = LevelTable(values: kind.values)
  }

  /// Codecs with the same parameters are the same.
  public static func == (left: FourBitFloatCodec, right: FourBitFloatCodec) -> Bool {
    left.canonicalName == right.canonicalName
  }

  /// Hashes the parameters.
  public func hash(into hasher: inout Hasher) { hasher.combine(canonicalName) }

  /// `nf4-g64`; `-gall` for whole rows; the scale type follows unless it is f32.
  public var canonicalName: String {
    "\(kind.rawValue)-g\(groupSize.map(String.init) ?? "all")"
      + (scaleType == .f32 ? "" : "-\(scaleType.name)")
  }

  /// Columns that share a scale.
  func groupLength(columns: Int) -> Int { max(1, min(groupSize ?? columns, columns)) }

  /// Exact storage in bits per weight.
  public func bitsPerWeight(columns: Int) -> Double {
    let groups = Checked.ceilingQuotient(columns, groupLength(columns: columns))
    return Double((columns + 1) / 2 * 8 + groups * scaleType.bitWidth) / Double(max(columns, 1))
  }

  /// Rounds a matrix; see ``Codec``.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try checkInput(matrix, importance: importance)
    let length = groupLength(columns: matrix.columns)
    let groups = Checked.ceilingQuotient(matrix.columns, length)
    var codes = [UInt8](repeating: 0, count: matrix.values.count)
    var scales = [Float](repeating: 0, count: matrix.rows * groups)
    var buffer = GroupBuffer(length: length)
    var workspace = BlockWorkspace()
    for group in scales.indices {
      let (row, first) = (group / groups, group % groups * length)
      let range = first..<min(first + length, matrix.columns)
      buffer.load(matrix, row: row, range, importance)
      var scale = buffer.extreme
      if case .leastSquares = search {
        scale = levelTable.bestFit(buffer.values.span, buffer.weights.span, &workspace).scale
      }
      scales[group] = scaleType.rounded(scale)
      guard scales[group].isFinite else {
        throw .scaleOverflow(row: row, group: group % groups, scale: scale, type: scaleType)
      }
      buffer.locate(in: levelTable, scale: scales[group])
      for column in range {
        codes[row * matrix.columns + column] = levelTable.codes[Int(buffer.places[column - first])]
      }
    }
    return try EncodedMatrix(
      codec: self, rows: matrix.rows, columns: matrix.columns,
      planes: [
        "codes": plane(
          BitPacking.packed(codes, rows: matrix.rows, columns: matrix.columns, bits: 4), .u8,
          [matrix.rows, (matrix.columns + 1) / 2]),
        "scales": plane(floats: scales, scaleType, [matrix.rows, groups]),
      ])
  }

  /// Checks the planes; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    try checkSize(matrix)
    let groups = Checked.ceilingQuotient(matrix.columns, groupLength(columns: matrix.columns))
    try checkPlanes(
      matrix,
      [
        PlaneRequirement("codes", .u8, [matrix.rows, (matrix.columns + 1) / 2]),
        PlaneRequirement("scales", scaleType, [matrix.rows, groups]),
      ])
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    let length = groupLength(columns: matrix.columns)
    let groups = Checked.ceilingQuotient(matrix.columns, length)
    let range = rows.lowerBound * groups..<rows.upperBound * groups
    guard let codes = matrix.planes["codes"],
      let scales = try? matrix.planes["scales"]?.floats(elements: range)
    else { return }
    unsafe FourBitPlanes.decode(
      codes, rows: rows, columns: matrix.columns, groupLength: length, values: kind.values, scales: scales,
      into: target)
  }
}
