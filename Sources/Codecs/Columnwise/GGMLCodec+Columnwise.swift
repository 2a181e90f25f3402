import OrderedCollections
import TensorCore

extension GGMLCodec: ColumnwiseCodec {
  /// One grid a block for `q4_0` to `q8_0`; for k-quants, groups of 16 or 32 in blocks of 256.
  public func columnLayout(columns: Int) -> ColumnLayout? {
    guard columns % blockLength == 0 else { return nil }
    return switch format {
    case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0: ColumnLayout(fitLength: 32, gridLength: 32)
    case .q4_k, .q5_k: ColumnLayout(fitLength: 256, gridLength: 32)
    case .q2_k, .q3_k, .q6_k: ColumnLayout(fitLength: 256, gridLength: 16)
    }
  }

  /// Whole steps.
  public var levels: CodeLevels { .steps }

  /// The grids; see ``ColumnwiseCodec``.
  public func grids(of matrix: EncodedMatrix) -> [Grid] {
    if let grid = uniformGrid(columns: matrix.columns) {
      let parameters = uniformParameters(of: matrix)
      return parameters.scales.indices.map { index in
        let hasMinimum = !parameters.minimums.isEmpty
        return Grid(
          scale: parameters.scales[index],
          zero: hasMinimum ? 0 : Float(grid.maximumCode / 2 + 1 - skippedCode),
          maximumCode: Float(grid.maximumCode - skippedCode),
          offset: hasMinimum ? parameters.minimums[index] : 0)
      }
    }
    let bytes = matrix.bytes("blocks")
    return stride(from: 0, to: bytes.count, by: blockByteCount).flatMap { start in
      superblockGrids(bytes.span.extracting(start..<start + blockByteCount))
    }
  }

  /// `q8_0` never uses -128, whose magnitude overflows in kernels that take the sign off.
  private var skippedCode: Int { format == .q8_0 ? 1 : 0 }

  private func superblockGrids(_ block: Span<UInt8>) -> [Grid] {
    switch format {
    case .q2_k:
      let (d, dmin) = (block.half(at: 80), block.half(at: 82))
      return (0..<16).map {
        Grid(scale: d * Float(block[$0] & 15), zero: 0, maximumCode: 3, offset: -dmin * Float(block[$0] >> 4))
      }
    case .q3_k:
      let d = block.half(at: 108)
      return (0..<16).map { group in
        let low = (block[96 + group % 8] >> (group < 8 ? 0 : 4)) & 15
        let high = (block[104 + group % 4] >> UInt8(2 * (group / 4))) & 3
        return Grid(scale: d * Float(Int(low | high << 4) - 32), zero: 4, maximumCode: 7)
      }
    case .q6_k:
      let d = block.half(at: 208)
      return (0..<16).map {
        Grid(scale: d * Float(Int8(bitPattern: block[192 + $0])), zero: 32, maximumCode: 63)
      }
    default:
      let (d, dmin) = (block.half(at: 0), block.half(at: 2))
      return (0..<8).map { group in
        let (step, minimum) = sixBits(block.extracting(4..<16), group)
        return Grid(
          scale: d * Float(step), zero: 0, maximumCode: format == .q4_k ? 15 : 31,
          offset: -dmin * Float(minimum))
      }
    }
  }

  /// Step and minimum of one of eight groups.
  private func sixBits(_ scales: Span<UInt8>, _ group: Int) -> (step: UInt8, minimum: UInt8) {
    if group < 4 { return (scales[group] & 63, scales[group + 4] & 63) }
    return (
      scales[group + 4] & 15 | (scales[group - 4] >> 6) << 4,
      scales[group + 4] >> 4 | (scales[group] >> 6) << 4
    )
  }

  /// The codes; see ``ColumnwiseCodec``.
  public func codes(of matrix: EncodedMatrix) -> [UInt8] {
    guard uniformGrid(columns: matrix.columns) == nil else {
      let stored = uniformCodes(of: matrix, rows: 0..<matrix.rows)
      return skippedCode == 0 ? stored : stored.map { $0 == 0 ? 0 : $0 - 1 }
    }
    let bytes = matrix.bytes("blocks")
    var codes = [UInt8](repeating: 0, count: matrix.rows * matrix.columns)
    var target = codes.mutableSpan
    for block in 0..<bytes.count / blockByteCount {
      var part = target._mutatingExtracting(block * 256..<(block + 1) * 256)
      readCodes(bytes.span.extracting(block * blockByteCount..<(block + 1) * blockByteCount), into: &part)
    }
    return codes
  }

  /// Joins blocks and replaces their codes; see ``ColumnwiseCodec``.
  public func assemble(
    _ fits: [EncodedMatrix], rows: Int, columns: Int, codes: [UInt8]
  ) throws(CodecError) -> EncodedMatrix {
    if uniformGrid(columns: columns) != nil {
      let parts = fits.map { uniformParameters(of: $0) }
      return try assemble(
        rows: rows, columns: columns, uniformCodes: skippedCode == 0 ? codes : codes.map { $0 + 1 },
        parameters: UniformParameters(
          scales: sideBySide(parts.map(\.scales), rows: rows),
          minimums: sideBySide(parts.map(\.minimums), rows: rows)))
    }
    var bytes = sideBySide(fits.map { $0.bytes("blocks") }, rows: rows)
    var target = bytes.mutableSpan
    for block in 0..<target.count / blockByteCount {
      var part = target._mutatingExtracting(block * blockByteCount..<(block + 1) * blockByteCount)
      writeCodes(codes.span.extracting(block * 256..<(block + 1) * 256), into: &part)
    }
    return try EncodedMatrix(
      codec: self, rows: rows, columns: columns,
      planes: ["blocks": plane(bytes, .u8, [rows, columns / blockLength * blockByteCount])])
  }

  /// Offsets of the planes of a k-quant's codes: low bits, and those above them.
  private var codeOffsets: (low: Int, high: Int) {
    switch format {
    case .q2_k: (16, 0)
    case .q3_k: (32, 0)
    case .q4_k: (16, 0)
    case .q5_k: (48, 16)
    default: (0, 128)
    }
  }

  private func readCodes(_ block: Span<UInt8>, into codes: inout MutableSpan<UInt8>) {
    let (low, high) = codeOffsets
    for half in 0..<2 {
      for plane in 0..<4 {
        for index in 0..<32 {
          let at = half * 128 + plane * 32 + index
          switch format {
          case .q2_k, .q3_k:
            let pair = block[low + half * 32 + index] >> UInt8(2 * plane) & 3
            let top = format == .q2_k ? 0 : block[index] >> UInt8(half * 4 + plane) & 1
            codes[at] = pair | top << 2
          case .q4_k, .q5_k:
            let nibble = block[low + half * 64 + plane / 2 * 32 + index] >> UInt8(plane % 2 * 4) & 15
            let top = format == .q4_k ? 0 : block[high + index] >> UInt8(half * 4 + plane) & 1
            codes[at] = nibble | top << 4
          default:
            let nibble = block[half * 64 + plane % 2 * 32 + index] >> UInt8(plane / 2 * 4) & 15
            codes[at] = nibble | (block[high + half * 32 + index] >> UInt8(2 * plane) & 3) << 4
          }
        }
      }
    }
  }

  private func writeCodes(_ codes: Span<UInt8>, into block: inout MutableSpan<UInt8>) {
    let (low, high) = codeOffsets
    let lowCount = format == .q2_k || format == .q3_k ? 64 : 128
    for index in low..<low + lowCount { block[index] = 0 }
    switch format {
    case .q3_k: for index in 0..<32 { block[index] = 0 }
    case .q5_k: for index in 0..<32 { block[high + index] = 0 }
    case .q6_k: for index in 0..<64 { block[high + index] = 0 }
    default: break
    }
    for half in 0..<2 {
      for plane in 0..<4 {
        for index in 0..<32 {
          let code = codes[half * 128 + plane * 32 + index]
          switch format {
          case .q2_k, .q3_k:
            block[low + half * 32 + index] |= (code & 3) << UInt8(2 * plane)
            if format == .q3_k { block[index] |= (code >> 2 & 1) << UInt8(half * 4 + plane) }
          case .q4_k, .q5_k:
            block[low + half * 64 + plane / 2 * 32 + index] |= (code & 15) << UInt8(plane % 2 * 4)
            if format == .q5_k { block[high + index] |= (code >> 4 & 1) << UInt8(half * 4 + plane) }
          default:
            block[half * 64 + plane % 2 * 32 + index] |= (code & 15) << UInt8(plane / 2 * 4)
            block[high + half * 32 + index] |= (code >> 4 & 3) << UInt8(2 * plane)
          }
        }
      }
    }
  }
}
