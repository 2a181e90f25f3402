import OrderedCollections
import TensorCore

extension GGMLCodec: UniformGroupCodec {
  /// How a block of 32 evenly spaced values lies in its bytes: f16 scale, f16 minimum if any, the fifth bits if any, codes.
  private struct Layout {
    let bits: Int
    let hasMinimum: Bool
    let byteCount: Int
    var codeOffset: Int { (hasMinimum ? 4 : 2) + (bits == 5 ? 4 : 0) }
  }

  private var layout: Layout? {
    switch format {
    case .q4_0: Layout(bits: 4, hasMinimum: false, byteCount: 18)
    case .q4_1: Layout(bits: 4, hasMinimum: true, byteCount: 20)
    case .q5_0: Layout(bits: 5, hasMinimum: false, byteCount: 22)
    case .q5_1: Layout(bits: 5, hasMinimum: true, byteCount: 24)
    case .q8_0: Layout(bits: 8, hasMinimum: false, byteCount: 34)
    case .q2_k, .q3_k, .q4_k, .q5_k, .q6_k: nil
    }
  }

  /// The grid; nil for k-quants, whose groups have scales of their own precision.
  public func uniformGrid(columns: Int) -> UniformGrid? {
    guard let layout, columns % 32 == 0 else { return nil }
    return UniformGrid(
      groupLength: 32, maximumCode: 1 << layout.bits - 1,
      origin: layout.hasMinimum ? .minimum : .fixed(1 << (layout.bits - 1)), scaleType: .f16)
  }

  /// Scales and minimums as stored.
  public func uniformParameters(of matrix: EncodedMatrix) -> UniformParameters {
    guard let layout, let plane = matrix.planes["blocks"] else { return UniformParameters(scales: []) }
    return unsafe plane.withBytes { bytes in
      let count = bytes.count / layout.byteCount
      func halves(_ offset: Int) -> [Float] {
        (0..<count).map { block in
          let bits = unsafe bytes.loadUnaligned(
            fromByteOffset: block * layout.byteCount + offset, as: UInt16.self)
          return Float(Float16(bitPattern: UInt16(littleEndian: bits)))
        }
      }
      return UniformParameters(scales: halves(0), minimums: layout.hasMinimum ? halves(2) : [])
    }
  }

  /// The codes as stored; those of `q8_0` are counted from its least value.
  public func uniformCodes(of matrix: EncodedMatrix, rows: Range<Int>) -> [UInt8] {
    var codes = [UInt8](repeating: 0, count: rows.count * matrix.columns)
    guard let layout, let plane = matrix.planes["blocks"] else { return codes }
    let blocks = rows.count * matrix.columns / 32
    let first = rows.lowerBound * matrix.columns / 32
    var target = codes.mutableSpan
    unsafe plane.withBytes { bytes in
      for block in 0..<blocks {
        let start = (first + block) * layout.byteCount
        let from = start + layout.codeOffset
        if layout.bits == 8 {
          for index in 0..<32 { target[block * 32 + index] = unsafe bytes[from + index] ^ 0x80 }
          continue
        }
        var high: UInt32 = 0
        if layout.bits == 5 {
          high = UInt32(
            littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: from - 4, as: UInt32.self))
        }
        for index in 0..<16 {
          let byte = unsafe bytes[from + index]
          target[block * 32 + index] = byte & 15 | UInt8(high >> UInt32(index) & 1) << 4
          target[block * 32 + index + 16] = byte >> 4 | UInt8(high >> UInt32(index + 16) & 1) << 4
        }
      }
    }
    return codes
  }

  /// Packs codes and parameters into blocks.
  public func assemble(
    rows: Int, columns: Int, uniformCodes codes: [UInt8], parameters: UniformParameters
  ) throws(CodecError) -> EncodedMatrix {
    guard let layout else {
      throw .invalidParameters(codec: canonicalName, reason: "its values are not evenly spaced")
    }
    let blocks = rows * columns / 32
    let region = unsafe MemoryRegion(byteCount: blocks * layout.byteCount) { target in
      func store(_ value: Float, at offset: Int) {
        unsafe target.storeBytes(
          of: Float16(value).bitPattern.littleEndian, toByteOffset: offset, as: UInt16.self)
      }
      for block in 0..<blocks {
        let start = block * layout.byteCount
        let from = start + layout.codeOffset
        store(parameters.scales[block], at: start)
        if layout.hasMinimum { store(parameters.minimums[block], at: start + 2) }
        if layout.bits == 8 {
          for index in 0..<32 { unsafe target[from + index] = codes[block * 32 + index] ^ 0x80 }
          continue
        }
        var high: UInt32 = 0
        for index in 0..<16 {
          let (low, top) = (codes[block * 32 + index], codes[block * 32 + index + 16])
          unsafe target[from + index] = low & 15 | (top & 15) << 4
          high |= UInt32(low >> 4) << UInt32(index) | UInt32(top >> 4) << UInt32(index + 16)
        }
        if layout.bits == 5 {
          unsafe target.storeBytes(of: high.littleEndian, toByteOffset: from - 4, as: UInt32.self)
        }
      }
    }
    let blockBytes: Tensor
    do throws(TensorCoreError) {
      blockBytes = try Tensor(
        elementType: .u8, shape: Shape([rows, columns / 32 * layout.byteCount]), region: region)
    } catch { throw .invalidParameters(codec: canonicalName, reason: error.diagnostic.message) }
    return try matrix(rows: rows, columns: columns, blocks: blockBytes)
  }
}
