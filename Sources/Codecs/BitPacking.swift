import TensorCore

/// Dense packing of small unsigned codes, least significant bit first, each row starting on a byte.
public enum BitPacking {
  /// Bytes of a row of `count` codes of `bits` bits.
  public static func bytesPerRow(count: Int, bits: Int) -> Int { (count * bits + 7) / 8 }

  /// Packs one row of codes, each below `1 << bits`; `bits` in 1...8.
  public static func pack(_ codes: Span<UInt8>, bits: Int, into bytes: inout MutableSpan<UInt8>) {
    if bits == 8 {
      for index in codes.indices { bytes[index] = codes[index] }
      return
    }
    var accumulator: UInt32 = 0
    var filled = 0
    var position = 0
    for index in codes.indices {
      accumulator |= UInt32(codes[index]) << UInt32(filled)
      filled += bits
      if filled >= 8 {
        bytes[position] = UInt8(truncatingIfNeeded: accumulator)
        accumulator >>= 8
        filled -= 8
        position += 1
      }
    }
    if filled > 0 { bytes[position] = UInt8(truncatingIfNeeded: accumulator) }
  }

  /// Unpacks one row into as many codes as `codes` holds.
  public static func unpack(_ bytes: Span<UInt8>, bits: Int, into codes: inout MutableSpan<UInt8>) {
    if bits == 8 {
      for index in codes.indices { codes[index] = bytes[index] }
      return
    }
    if bits == 4 {
      for index in codes.indices { codes[index] = (bytes[index >> 1] >> UInt8((index & 1) * 4)) & 15 }
      return
    }
    let mask = UInt32(1) << UInt32(bits) - 1
    var accumulator: UInt32 = 0
    var filled = 0
    var position = 0
    for index in codes.indices {
      if filled < bits {
        accumulator |= UInt32(bytes[position]) << UInt32(filled)
        filled += 8
        position += 1
      }
      codes[index] = UInt8(truncatingIfNeeded: accumulator & mask)
      accumulator >>= UInt32(bits)
      filled -= bits
    }
  }

  /// Packs all rows of codes.
  static func packed(_ codes: [UInt8], rows: Int, columns: Int, bits: Int) -> [UInt8] {
    let rowBytes = bytesPerRow(count: columns, bits: bits)
    var bytes = [UInt8](repeating: 0, count: rows * rowBytes)
    var target = bytes.mutableSpan
    for row in 0..<rows {
      var part = target._mutatingExtracting(row * rowBytes..<(row + 1) * rowBytes)
      pack(codes.span.extracting(row * columns..<(row + 1) * columns), bits: bits, into: &part)
    }
    return bytes
  }

  /// Unpacks some rows of a plane of codes.
  static func unpacked(_ plane: Tensor, rows: Range<Int>, columns: Int, bits: Int) -> [UInt8] {
    let rowBytes = bytesPerRow(count: columns, bits: bits)
    var codes = [UInt8](repeating: 0, count: rows.count * columns)
    var target = codes.mutableSpan
    unsafe plane.withBytes { raw in
      let bytes = unsafe Span(_unsafeElements: raw.assumingMemoryBound(to: UInt8.self))
      for (index, row) in rows.enumerated() {
        var part = target._mutatingExtracting(index * columns..<(index + 1) * columns)
        unpack(bytes.extracting(row * rowBytes..<(row + 1) * rowBytes), bits: bits, into: &part)
      }
    }
    return codes
  }
}
