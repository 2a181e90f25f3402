import OrderedCollections
import TensorCore

/// A block codec whose blocks are made and read one after another; conforming types describe one block.
protocol BlockwiseCodec: BlockCodec {
  /// Where in a block the f16 scale lies that overflows when weights are too large; nil when none does.
  var scaleOffset: Int? { get }

  /// Writes the `blockLength` values of the block of `blockByteCount` bytes to `target`.
  func decodeBlock(_ block: Span<UInt8>, into target: inout MutableSpan<Float>)

  /// Writes `blockLength` finite values, whose squared errors have these weights, to a block of zeros.
  func encodeBlock(
    _ values: Span<Float>, weights: Span<Float>, search: ScaleSearch, workspace: inout BlockWorkspace,
    into block: inout MutableSpan<UInt8>)

  /// Why there is no encoder; nil when there is one.
  var encodingRefusal: String? { get }
}

/// Memory that encoders of blocks work in.
struct BlockWorkspace {
  var factors: [Float] = []
  var cross: [Float] = []
  var square: [Float] = []
  var codes: [UInt8] = []
}

extension BlockwiseCodec {
  var scaleOffset: Int? { 0 }

  var encodingRefusal: String? { nil }

  /// Encodes a matrix; see ``Codec``. Columns must be whole blocks.
  public func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    if let encodingRefusal { throw .invalidParameters(codec: canonicalName, reason: encodingRefusal) }
    try checkInput(matrix, importance: importance)
    guard matrix.columns % blockLength == 0 else {
      throw .invalidParameters(
        codec: canonicalName,
        reason: "rows of \(matrix.columns) columns are not whole blocks of \(blockLength)")
    }
    let rowBytes = matrix.columns / blockLength * blockByteCount
    var bytes = [UInt8](repeating: 0, count: matrix.rows * rowBytes)
    let weights = importance ?? [Float](repeating: 1, count: matrix.columns)
    var workspace = BlockWorkspace()
    var target = bytes.mutableSpan
    for index in 0..<matrix.values.count / blockLength {
      let column = index * blockLength % matrix.columns
      let values = matrix.values.span.extracting(index * blockLength..<(index + 1) * blockLength)
      var block = target._mutatingExtracting(index * blockByteCount..<(index + 1) * blockByteCount)
      encodeBlock(
        values, weights: weights.span.extracting(column..<column + blockLength), search: search,
        workspace: &workspace, into: &block)
    }
    try checkScales(bytes, columns: matrix.columns)
    return try EncodedMatrix(
      codec: self, rows: matrix.rows, columns: matrix.columns,
      planes: ["blocks": plane(bytes, .u8, [matrix.rows, rowBytes])])
  }

  /// Refuses blocks whose f16 scale overflowed.
  private func checkScales(_ bytes: [UInt8], columns: Int) throws(CodecError) {
    guard let scaleOffset else { return }
    let perRow = columns / blockLength
    for block in 0..<bytes.count / blockByteCount {
      let high = bytes[block * blockByteCount + scaleOffset + 1]
      guard high & 0x7C != 0x7C else {
        throw .scaleOverflow(row: block / perRow, group: block % perRow, scale: .infinity, type: .f16)
      }
    }
  }

  /// Writes the values of rows; see ``Codec``.
  public func decode(
    _ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>
  ) {
    guard let plane = matrix.planes["blocks"] else { return }
    let perRow = matrix.columns / blockLength
    var values = unsafe MutableSpan(_unsafeElements: target)
    unsafe plane.withBytes { bytes in
      let blocks = unsafe Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self))
      for index in 0..<rows.count * perRow {
        let start = (rows.lowerBound * perRow + index) * blockByteCount
        var part = values._mutatingExtracting(index * blockLength..<(index + 1) * blockLength)
        decodeBlock(blocks.extracting(start..<start + blockByteCount), into: &part)
      }
    }
  }
}

extension Span<UInt8> {
  /// The f16 at `offset`, little-endian.
  func half(at offset: Int) -> Float { Float(Float16(bitPattern: word16(at: offset))) }

  /// Two bytes at `offset`, little-endian.
  func word16(at offset: Int) -> UInt16 { UInt16(self[offset]) | UInt16(self[offset + 1]) << 8 }

  /// Four bytes at `offset`, little-endian.
  func word32(at offset: Int) -> UInt32 {
    UInt32(word16(at: offset)) | UInt32(word16(at: offset + 2)) << 16
  }
}

extension MutableSpan<UInt8> {
  /// Writes a number as f16.
  mutating func store(half value: Float16, at offset: Int) { store(value.bitPattern, at: offset) }

  /// Writes an integer, little-endian.
  mutating func store<Word: FixedWidthInteger>(_ word: Word, at offset: Int) {
    for index in 0..<Word.bitWidth / 8 {
      self[offset + index] = UInt8(truncatingIfNeeded: word >> Word(8 * index))
    }
  }

  /// Sets bits of an integer that lies at `offset`, little-endian.
  mutating func merge<Word: FixedWidthInteger>(_ word: Word, at offset: Int) {
    for index in 0..<Word.bitWidth / 8 {
      self[offset + index] |= UInt8(truncatingIfNeeded: word >> Word(8 * index))
    }
  }
}
