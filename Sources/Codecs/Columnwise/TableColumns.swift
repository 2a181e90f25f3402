import OrderedCollections
import TensorCore

extension LevelTable {
  /// The table without the repeated last level.
  var codeLevels: CodeLevels {
    let count = levels.indices.last { $0 == 0 || levels[$0] != levels[$0 - 1] } ?? 0
    return CodeLevels(values: Array(levels[0...count]))
  }

  /// The place of each stored code.
  var placeOfCode: [UInt8] {
    // Of the codes of equal values, such as both zeros, the table has one.
    let zero = UInt8(levels.firstIndex(of: 0) ?? 0)
    var places = [UInt8](repeating: zero, count: 16)
    for (place, code) in codes.enumerated().reversed() { places[Int(code)] = UInt8(place) }
    return places
  }
}

extension IQ4NLCodec: IQ4BlockCodec {
  static var blockLength: Int { 32 }
  static var headLength: Int { 2 }

  /// One a block.
  func grids(ofBlock block: Span<UInt8>) -> [Grid] {
    [Grid(scale: block.half(at: 0), zero: 0, maximumCode: 15)]
  }
}

extension IQ4XSCodec: IQ4BlockCodec {
  static var blockLength: Int { 256 }
  static var headLength: Int { 8 }

  /// Eight a block.
  func grids(ofBlock block: Span<UInt8>) -> [Grid] {
    let (scale, high) = (block.half(at: 0), block.word16(at: 2))
    return (0..<8).map { part in
      let low = block[4 + part / 2] >> UInt8(4 * (part % 2)) & 15
      let step = Int(low) | Int(high >> UInt16(2 * part) & 3) << 4
      return Grid(scale: scale * Float(step - 32), zero: 0, maximumCode: 15)
    }
  }
}

/// Codecs of blocks with a head of scales and then 4-bit codes of the table of IQ4: of every 16 bytes, the low nibbles come first.
protocol IQ4BlockCodec: ColumnwiseCodec {
  static var blockLength: Int { get }
  /// Bytes of a block before the codes.
  static var headLength: Int { get }
  func grids(ofBlock block: Span<UInt8>) -> [Grid]
}

extension IQ4BlockCodec {
  private static var byteCount: Int { headLength + blockLength / 2 }

  /// Groups of 32, fitted block by block.
  public func columnLayout(columns: Int) -> ColumnLayout? {
    columns % Self.blockLength == 0 ? ColumnLayout(fitLength: Self.blockLength, gridLength: 32) : nil
  }

  /// The table of the format.
  public var levels: CodeLevels { IQ4Levels.table.codeLevels }

  /// The grids; see ``ColumnwiseCodec``.
  public func grids(of matrix: EncodedMatrix) -> [Grid] {
    let bytes = matrix.bytes("blocks")
    return stride(from: 0, to: bytes.count, by: Self.byteCount).flatMap {
      grids(ofBlock: bytes.span.extracting($0..<$0 + Self.byteCount))
    }
  }

  /// The codes; see ``ColumnwiseCodec``.
  public func codes(of matrix: EncodedMatrix) -> [UInt8] {
    let bytes = matrix.bytes("blocks")
    var codes: [UInt8] = []
    codes.reserveCapacity(matrix.rows * matrix.columns)
    for part in Self.parts(byteCount: bytes.count) {
      for index in part { codes.append(bytes[index] & 15) }
      for index in part { codes.append(bytes[index] >> 4) }
    }
    return codes
  }

  /// Joins blocks and replaces their codes; see ``ColumnwiseCodec``.
  public func assemble(
    _ fits: [EncodedMatrix], rows: Int, columns: Int, codes: [UInt8]
  ) throws(CodecError) -> EncodedMatrix {
    var bytes = sideBySide(fits.map { $0.bytes("blocks") }, rows: rows)
    for (number, part) in Self.parts(byteCount: bytes.count).enumerated() {
      for (index, place) in part.enumerated() {
        bytes[place] = codes[number * 32 + index] | codes[number * 32 + index + 16] << 4
      }
    }
    return try EncodedMatrix(
      codec: self, rows: rows, columns: columns,
      planes: ["blocks": plane(bytes, .u8, [rows, columns / Self.blockLength * Self.byteCount])])
  }

  /// The places of 32 codes each.
  private static func parts(byteCount: Int) -> [Range<Int>] {
    stride(from: 0, to: byteCount, by: self.byteCount).flatMap { block in
      stride(from: block + headLength, to: block + self.byteCount, by: 16).map { $0..<$0 + 16 }
    }
  }
}

/// Codecs with planes of 4-bit codes of a table, and of scales.
protocol FourBitTableCodec: ColumnwiseCodec {
  var levelTable: LevelTable { get }
  /// Columns that share a scale.
  func groupLength(columns: Int) -> Int
  /// Scales as they multiply levels.
  func scales(of matrix: EncodedMatrix) -> [Float]
  /// Planes that lie side by side.
  var scalePlane: (name: String, type: ElementType) { get }
}

extension FourBitTableCodec {
  /// One grid a group.
  public func columnLayout(columns: Int) -> ColumnLayout? {
    let length = groupLength(columns: columns)
    return ColumnLayout(fitLength: length, gridLength: length)
  }

  /// The table's values.
  public var levels: CodeLevels { levelTable.codeLevels }

  /// The grids; see ``ColumnwiseCodec``.
  public func grids(of matrix: EncodedMatrix) -> [Grid] {
    scales(of: matrix).map { Grid(scale: $0, zero: 0, maximumCode: 15) }
  }

  /// The codes; see ``ColumnwiseCodec``.
  public func codes(of matrix: EncodedMatrix) -> [UInt8] {
    guard let plane = matrix.planes["codes"] else { return [] }
    let places = levelTable.placeOfCode
    return BitPacking.unpacked(plane, rows: 0..<matrix.rows, columns: matrix.columns, bits: 4).map {
      places[Int($0)]
    }
  }

  /// Joins scales and packs codes; see ``ColumnwiseCodec``.
  public func assemble(
    _ fits: [EncodedMatrix], rows: Int, columns: Int, codes: [UInt8]
  ) throws(CodecError) -> EncodedMatrix {
    let (name, type) = scalePlane
    let parts = fits.map { $0.bytes(name) }
    let stored = levelTable.codes
    let packed = BitPacking.packed(codes.map { stored[Int($0)] }, rows: rows, columns: columns, bits: 4)
    let groups = Checked.ceilingQuotient(columns, groupLength(columns: columns))
    var planes: OrderedDictionary<String, Tensor> = [
      "codes": try plane(packed, .u8, [rows, (columns + 1) / 2]),
      name: try plane(sideBySide(parts, rows: rows), type, [rows, groups]),
    ]
    for shared in sharedPlanes { planes[shared] = fits.first?.planes[shared] }
    return try EncodedMatrix(codec: self, rows: rows, columns: columns, planes: planes)
  }
}

extension FourBitFloatCodec: FourBitTableCodec {
  var scalePlane: (name: String, type: ElementType) { ("scales", scaleType) }
  func scales(of matrix: EncodedMatrix) -> [Float] { (try? matrix.planes["scales"]?.floats()) ?? [] }
}

extension MXFP4Codec: FourBitTableCodec {
  var levelTable: LevelTable { MXFP4Codec.table }
  var scalePlane: (name: String, type: ElementType) { ("scales", .u8) }
  func groupLength(columns: Int) -> Int { MXFP4Codec.groupLength }
  func scales(of matrix: EncodedMatrix) -> [Float] {
    matrix.bytes("scales").map { SmallFloat.e8m0Values[Int($0)] }
  }
}

extension NVFP4Codec: FourBitTableCodec {
  var levelTable: LevelTable { MXFP4Codec.table }
  var scalePlane: (name: String, type: ElementType) { ("scales", .u8) }
  func groupLength(columns: Int) -> Int { NVFP4Codec.groupLength }
  func scales(of matrix: EncodedMatrix) -> [Float] {
    let global = (try? matrix.planes["global_scale"]?.floats().first) ?? 1
    return matrix.bytes("scales").map { SmallFloat.e4m3Values[Int($0)] * global }
  }

  /// The global scale.
  public func sharedScale(of matrix: FloatMatrix) -> Float? {
    let extreme = matrix.values.reduce(Float(0)) { max($0, abs($1)) }
    return extreme > 0 ? max(extreme / (6 * 448), Float.leastNormalMagnitude) : 1
  }

  /// Chooses scales under the matrix's global scale; see ``ColumnwiseCodec``.
  public func fit(
    _ part: FloatMatrix, sharedScale: Float?, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try encode(
      part, globalScale: sharedScale ?? self.sharedScale(of: part) ?? 1, importance: importance,
      search: search)
  }
}

extension Float8Codec: ColumnwiseCodec {
  /// Scales belong to whole matrices, rows or squares: the row is fitted at once.
  public func columnLayout(columns: Int) -> ColumnLayout? {
    let width = max(columns, 1)
    return switch granularity {
    case .tensor, .channel: ColumnLayout(fitLength: width, gridLength: width)
    case .block(let size): ColumnLayout(fitLength: width, gridLength: size)
    }
  }

  /// Whether rows share scales.
  public var sharesParametersAcrossRows: Bool { granularity != .channel }

  /// The finite values of the format, ascending.
  public var levels: CodeLevels { CodeLevels(values: finiteCodes.map { values[Int($0)] }) }

  /// Stored codes of ascending finite values; the negative zero is left out.
  private var finiteCodes: [UInt8] {
    let values = values
    return (UInt8.min...UInt8.max).filter { values[Int($0)].isFinite && $0 != 0x80 }
      .sorted { values[Int($0)] < values[Int($1)] }
  }

  /// The grids; see ``ColumnwiseCodec``.
  public func grids(of matrix: EncodedMatrix) -> [Grid] {
    let scales = (try? matrix.planes["scales"]?.floats()) ?? []
    let size = blockSize(rows: matrix.rows, columns: matrix.columns)
    let perRow = Checked.ceilingQuotient(max(matrix.columns, 1), size.columns)
    return (0..<matrix.rows).flatMap { row in
      (0..<perRow).map { Grid(scale: scales[row / size.rows * perRow + $0], zero: 0, maximumCode: 255) }
    }
  }

  /// The codes; see ``ColumnwiseCodec``.
  public func codes(of matrix: EncodedMatrix) -> [UInt8] {
    var places = [UInt8](repeating: 0, count: 256)
    for (place, code) in finiteCodes.enumerated() { places[Int(code)] = UInt8(place) }
    places[0x80] = places[0]
    return matrix.bytes("codes").map { places[Int($0)] }
  }

  /// Replaces the codes of the one fit; see ``ColumnwiseCodec``.
  public func assemble(
    _ fits: [EncodedMatrix], rows: Int, columns: Int, codes: [UInt8]
  ) throws(CodecError) -> EncodedMatrix {
    guard fits.count == 1, let fit = fits.first else {
      throw .invalidParameters(codec: canonicalName, reason: "rows are fitted as a whole")
    }
    let stored = finiteCodes
    var planes = fit.planes
    planes["codes"] = try plane(codes.map { stored[Int($0)] }, .u8, [rows, columns])
    return try EncodedMatrix(codec: self, rows: rows, columns: columns, planes: planes)
  }
}
