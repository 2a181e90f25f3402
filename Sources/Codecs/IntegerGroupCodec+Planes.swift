import OrderedCollections
import TensorCore

extension IntegerGroupCodec {
  /// Rounds a matrix; see ``Codec``.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    if let bad = matrix.firstNonFinite {
      throw .nonFinite(row: bad / matrix.columns, column: bad % matrix.columns, value: matrix.values[bad])
    }
    try check(importance, columns: matrix.columns)
    let length = groupLength(columns: matrix.columns)
    let groups = groupCount(columns: matrix.columns)
    var codes = [UInt8](repeating: 0, count: matrix.values.count)
    var grids: [Grid] = []
    grids.reserveCapacity(matrix.rows * groups)
    for row in 0..<matrix.rows {
      for start in stride(from: 0, to: matrix.columns, by: length) {
        let range = start..<min(start + length, matrix.columns)
        let base = row * matrix.columns
        let values = matrix.values.span.extracting(base + range.lowerBound..<base + range.upperBound)
        let grid = fitGrid(values, importance: importance?.span.extracting(range), search: search)
        grids.append(grid)
        for column in range {
          codes[base + column] = UInt8(grid.code(matrix.values[base + column]))
        }
      }
    }
    return try assemble(rows: matrix.rows, columns: matrix.columns, codes: codes, grids: grids)
  }

  /// Puts codes and grids, row-major, into planes.
  /// - Throws: ``CodecError/scaleOverflow(row:group:scale:type:)``.
  public func assemble(
    rows: Int, columns: Int, codes: [UInt8], grids: [Grid]
  ) throws(CodecError) -> EncodedMatrix {
    let groups = groupCount(columns: columns)
    precondition(codes.count == rows * columns && grids.count == rows * groups)
    for (index, grid) in grids.enumerated() where !(grid.scale.isFinite && grid.scale > 0) {
      throw .scaleOverflow(row: index / groups, group: index % groups, scale: grid.scale, type: scaleType)
    }
    let rowBytes = BitPacking.bytesPerRow(count: columns, bits: bits)
    let packed = BitPacking.packed(codes, rows: rows, columns: columns, bits: bits)
    var planes: OrderedDictionary<String, Tensor> = [:]
    do {
      planes["codes"] = try Tensor(bytes: packed, elementType: .u8, shape: Shape([rows, rowBytes]))
      planes["scales"] = try scalePlane(grids.map(\.scale), shape: Shape([rows, groups]))
      if !isSymmetric {
        planes["zeros"] = try Tensor(
          bytes: grids.map { UInt8($0.zero) }, elementType: .u8, shape: Shape([rows, groups]))
      }
      if hasGroupIndex {
        let length = groupLength(columns: columns)
        planes["group_index"] = try Tensor((0..<columns).map { Int32($0 / length) }, shape: Shape([columns]))
      }
    } catch {
      throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message)
    }
    return try EncodedMatrix(codec: self, rows: rows, columns: columns, planes: planes)
  }

  func scalePlane(_ scales: [Float], shape: Shape) throws(TensorCoreError) -> Tensor {
    func halves(_ bits: (Float) -> UInt16) -> [UInt8] {
      scales.flatMap { scale in
        let value = bits(scale)
        return [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
      }
    }
    switch scaleType {
    case .f16: return try Tensor(bytes: halves { Float16($0).bitPattern }, elementType: .f16, shape: shape)
    case .bf16: return try Tensor(bytes: halves(SmallFloat.bfloat16), elementType: .bf16, shape: shape)
    default: return try Tensor(scales, shape: shape)
    }
  }

  /// Checks the planes; see ``Codec``.
  public func validate(_ matrix: EncodedMatrix) throws(CodecError) {
    guard matrix.rows >= 0, (0...Int.max / 16).contains(matrix.columns) else {
      throw .damagedPlane(
        codec: canonicalName, plane: "codes", expected: "a matrix of possible size",
        found: "\(matrix.rows) x \(matrix.columns)")
    }
    let groups = groupCount(columns: matrix.columns)
    let rowBytes = BitPacking.bytesPerRow(count: matrix.columns, bits: bits)
    var wanted: [(String, ElementType, [Int])] = [
      ("codes", .u8, [matrix.rows, rowBytes]), ("scales", scaleType, [matrix.rows, groups]),
    ]
    if !isSymmetric { wanted.append(("zeros", .u8, [matrix.rows, groups])) }
    if hasGroupIndex { wanted.append(("group_index", .i32, [matrix.columns])) }
    for (name, type, dimensions) in wanted {
      guard let plane = matrix.planes[name] else {
        throw .damagedPlane(
          codec: canonicalName, plane: name, expected: "\(type.name)\(dimensions)", found: "nothing")
      }
      guard plane.elementType == type, plane.shape.dimensions == dimensions else {
        throw .damagedPlane(
          codec: canonicalName, plane: name, expected: "\(type.name)\(dimensions)",
          found: "\(plane.elementType.name)\(plane.shape)")
      }
    }
    if let extra = matrix.planes.keys.first(where: { name in !wanted.contains { $0.0 == name } }) {
      throw .damagedPlane(codec: canonicalName, plane: extra, expected: "nothing", found: "a plane")
    }
    if let wild = groupIndex(of: matrix)?.first(where: { !(0..<groups).contains($0) }) {
      throw .damagedPlane(
        codec: canonicalName, plane: "group_index", expected: "groups below \(groups)", found: "\(wild)")
    }
  }

  /// The group of each column where the matrix says so; nil when column `c` is of group `c / groupSize`.
  public func groupIndex(of matrix: EncodedMatrix) -> [Int]? {
    guard hasGroupIndex, let plane = matrix.planes["group_index"] else { return nil }
    return (try? plane.integers())?.map { Int($0) }
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    let parts = unpacked(matrix, rows: rows)
    let length = groupLength(columns: matrix.columns)
    let groups = groupCount(columns: matrix.columns)
    var position = 0
    if let index = groupIndex(of: matrix) {
      for row in 0..<rows.count {
        for group in index {
          let zero = Float(parts.zeros[row * groups + group])
          unsafe target[position] = parts.scales[row * groups + group] * (Float(parts.codes[position]) - zero)
          position += 1
        }
      }
      return
    }
    for row in 0..<rows.count {
      for group in 0..<groups {
        let scale = parts.scales[row * groups + group]
        let zero = Float(parts.zeros[row * groups + group])
        for _ in group * length..<min((group + 1) * length, matrix.columns) {
          unsafe target[position] = scale * (Float(parts.codes[position]) - zero)
          position += 1
        }
      }
    }
  }

  /// Codes, scales and zero points of a range of rows, one code a byte.
  public struct Unpacked: Sendable {
    /// `rows * columns` codes.
    public var codes: [UInt8]
    /// `rows * groups` scales.
    public var scales: [Float]
    /// `rows * groups` zero points, ``IntegerGroupCodec/middleCode`` when symmetric.
    public var zeros: [UInt8]
  }

  /// Unpacks rows, for packers and converters that need the codes themselves.
  public func unpacked(_ matrix: EncodedMatrix, rows: Range<Int>) -> Unpacked {
    let columns = matrix.columns
    let groups = groupCount(columns: columns)
    let codes =
      matrix.planes["codes"].map { BitPacking.unpacked($0, rows: rows, columns: columns, bits: bits) } ?? []
    let groupRange = rows.lowerBound * groups..<rows.upperBound * groups
    let scales = (try? matrix.planes["scales"]?.floats(elements: groupRange)) ?? []
    let zeros: [UInt8]
    if let plane = matrix.planes["zeros"] {
      zeros = unsafe plane.withBytes { unsafe Array($0[groupRange]) }
    } else {
      zeros = [UInt8](repeating: UInt8(middleCode), count: groupRange.count)
    }
    return Unpacked(codes: codes, scales: scales, zeros: zeros)
  }
}
