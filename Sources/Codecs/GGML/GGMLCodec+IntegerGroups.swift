import OrderedCollections
import TensorCore

extension GGMLCodec: IntegerGroupConvertible {
  /// `q4_0`, `q5_0` and `q8_0` as symmetric integers of 4, 5 and 8 bits in groups of 32 with f16 scales, which may be
  /// negative; nil for the others.
  public func integerGroups(of matrix: EncodedMatrix) -> EncodedMatrix? {
    let bits: Int
    switch format {
    case .q4_0: bits = 4
    case .q5_0: bits = 5
    case .q8_0: bits = 8
    default: return nil
    }
    guard let plane = matrix.planes["blocks"],
      let codec = try? IntegerGroupCodec(bits: bits, groupSize: 32)
    else { return nil }
    let groups = matrix.columns / 32
    let rowBytes = BitPacking.bytesPerRow(count: matrix.columns, bits: bits)
    let scales = unsafe MemoryRegion(byteCount: matrix.rows * groups * 2) { target in
      unsafe plane.withBytes { blocks in
        for block in 0..<matrix.rows * groups {
          unsafe target[block &* 2] = blocks[block &* blockByteCount]
          unsafe target[block &* 2 &+ 1] = blocks[block &* blockByteCount &+ 1]
        }
      }
    }
    let codes = unsafe MemoryRegion(byteCount: matrix.rows * rowBytes) { target in
      unsafe plane.withBytes { blocks in
        for row in 0..<matrix.rows {
          let start = row * groups * blockByteCount
          unsafe packRow(
            UnsafeRawBufferPointer(rebasing: blocks[start..<start + groups * blockByteCount]), bits: bits,
            into: UnsafeMutableRawBufferPointer(rebasing: target[row * rowBytes..<(row + 1) * rowBytes]))
        }
      }
    }
    do {
      return try EncodedMatrix(
        codec: codec, rows: matrix.rows, columns: matrix.columns,
        planes: [
          "codes": Tensor(elementType: .u8, shape: Shape([matrix.rows, rowBytes]), region: codes),
          "scales": Tensor(elementType: .f16, shape: Shape([matrix.rows, groups]), region: scales),
        ])
    } catch { return nil }
  }

  /// Codes of a row of blocks, least significant bit first.
  private func packRow(
    _ blocks: UnsafeRawBufferPointer, bits: Int, into target: UnsafeMutableRawBufferPointer
  ) {
    let count = blocks.count / blockByteCount
    switch bits {
    case 4:
      for block in 0..<count {
        let from = block &* 18 &+ 2
        let to = block &* 16
        for index in 0..<8 {
          let first = unsafe blocks[from &+ index &* 2]
          let second = unsafe blocks[from &+ index &* 2 &+ 1]
          unsafe target[to &+ index] = first & 15 | second << 4
          unsafe target[to &+ 8 &+ index] = first >> 4 | second & 0xF0
        }
      }
    case 5:
      for block in 0..<count {
        let high = unsafe blocks.loadUnaligned(fromByteOffset: block &* 22 &+ 2, as: UInt32.self)
        var accumulator: UInt32 = 0
        var filled: UInt32 = 0
        var position = block &* 20
        for index in 0..<32 {
          let byte = unsafe blocks[block &* 22 &+ 6 &+ index & 15]
          let low = index < 16 ? byte & 15 : byte >> 4
          accumulator |= (UInt32(low) | (high >> UInt32(index) & 1) << 4) << filled
          filled += 5
          if filled >= 8 {
            unsafe target[position] = UInt8(truncatingIfNeeded: accumulator)
            accumulator >>= 8
            filled -= 8
            position += 1
          }
        }
      }
    default:
      for block in 0..<count {
        for index in 0..<32 {
          unsafe target[block &* 32 &+ index] = blocks[block &* 34 &+ 2 &+ index] ^ 0x80
        }
      }
    }
  }
}
