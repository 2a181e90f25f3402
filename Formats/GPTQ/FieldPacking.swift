import Codecs

/// How small numbers lie in rows of 32-bit words.
struct FieldPacking {
  let bits: Int
  /// Whether each run of 32 numbers is split into planes of bits (`gptq_p`), instead of one stream.
  let isPlanar: Bool

  /// Widths of the planes, that of the low bits first.
  private var planes: [Int] {
    switch bits {
    case 3: [2, 1]
    case 5: [4, 1]
    case 6: [4, 2]
    case 7: [4, 2, 1]
    default: [bits]
    }
  }

  /// Whether both ways give the same words.
  var isStream: Bool { !isPlanar || planes.count == 1 }

  /// Writes as many numbers as `codes` holds, a whole number of words.
  func pack(_ codes: Span<UInt8>, into bytes: inout MutableSpan<UInt8>) {
    guard !isStream else { return BitPacking.pack(codes, bits: bits, into: &bytes) }
    for start in stride(from: 0, to: codes.count, by: 32) {
      var shift = 0
      var word = start / 32 * bits
      for width in planes {
        let perWord = 32 / width
        let mask = UInt32(1) << UInt32(width) - 1
        for part in 0..<width {
          var value: UInt32 = 0
          for index in 0..<perWord {
            let code = UInt32(codes[start + part * perWord + index]) >> UInt32(shift) & mask
            value |= code << UInt32(width * index)
          }
          for byte in 0..<4 { bytes[4 * word + byte] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) }
          word += 1
        }
        shift += width
      }
    }
  }

  /// Reads as many numbers as `codes` holds.
  func unpack(_ bytes: Span<UInt8>, into codes: inout MutableSpan<UInt8>) {
    guard !isStream else { return BitPacking.unpack(bytes, bits: bits, into: &codes) }
    for index in codes.indices { codes[index] = 0 }
    for start in stride(from: 0, to: codes.count, by: 32) {
      var shift = 0
      var word = start / 32 * bits
      for width in planes {
        let perWord = 32 / width
        let mask = UInt8(truncatingIfNeeded: 1 << width - 1)
        for part in 0..<width {
          for index in 0..<perWord {
            let bit = width * index
            let field = (bytes[4 * word + bit / 8] >> UInt8(bit % 8)) & mask
            codes[start + part * perWord + index] |= field << UInt8(shift)
          }
          word += 1
        }
        shift += width
      }
    }
  }

  /// The words of 32 equal numbers.
  func run(of code: Int) -> [UInt32] {
    var bytes = [UInt8](repeating: 0, count: 4 * bits)
    var target = bytes.mutableSpan
    pack([UInt8](repeating: UInt8(code), count: 32).span, into: &target)
    return (0..<bits).map { word in
      (0..<4).reduce(0) { $0 | UInt32(bytes[4 * word + $1]) << UInt32(8 * $1) }
    }
  }
}
