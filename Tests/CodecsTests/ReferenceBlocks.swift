import Codecs

/// The values of GGML blocks, element by element from the table of block layouts and in no cleverer way.
struct ReferenceBlocks {
  let format: GGMLCodec.Format
  let bytes: [UInt8]

  private func half(_ offset: Int) -> Float {
    Float(Float16(bitPattern: UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8))
  }

  private func low(_ offset: Int) -> Int { Int(bytes[offset]) & 15 }
  private func high(_ offset: Int) -> Int { Int(bytes[offset]) >> 4 }
  private func bit(_ offset: Int, _ index: Int) -> Int { Int(bytes[offset + index / 8]) >> (index % 8) & 1 }
  private func signed(_ offset: Int) -> Int { Int(Int8(bitPattern: bytes[offset])) }

  /// Nibble of 16 bytes that hold 32 codes: the second half in the high nibbles.
  private func nibble(_ offset: Int, _ e: Int) -> Int {
    e < 16 ? low(offset + e) : high(offset + e - 16)
  }

  /// Two bits in planes of 32.
  private func pair(_ offset: Int, _ e: Int) -> Int {
    Int(bytes[offset + 32 * (e / 128) + e % 32]) >> (2 * (e % 128 / 32)) & 3
  }

  /// Step and minimum of group `s` in 12 bytes.
  private func sixBits(_ offset: Int, _ s: Int) -> (Int, Int) {
    let b = bytes[offset..<offset + 12].map { Int($0) }
    return s < 4
      ? (b[s] & 63, b[s + 4] & 63)
      : (b[s + 4] & 15 | (b[s - 4] >> 6) << 4, b[s + 4] >> 4 | (b[s] >> 6) << 4)
  }

  /// The value of element `e`.
  func value(_ e: Int) -> Float {
    switch format {
    case .q4_0: return half(0) * Float(nibble(2, e) - 8)
    case .q4_1: return half(0) * Float(nibble(4, e)) + half(2)
    case .q5_0: return half(0) * Float((nibble(6, e) | bit(2, e) << 4) - 16)
    case .q5_1: return half(0) * Float(nibble(8, e) | bit(4, e) << 4) + half(2)
    case .q8_0: return half(0) * Float(signed(2 + e))
    case .q2_k:
      return half(80) * Float(low(e / 16)) * Float(pair(16, e)) - half(82) * Float(high(e / 16))
    case .q3_k:
      let s = e / 16
      let lower = s < 8 ? low(96 + s) : high(96 + s - 8)
      let upper = Int(bytes[104 + s % 4]) >> (2 * (s / 4)) & 3
      let code = pair(32, e) - (Int(bytes[e % 32]) >> (e / 32) & 1 == 1 ? 0 : 4)
      return half(108) * Float((lower | upper << 4) - 32) * Float(code)
    case .q4_k, .q5_k:
      let s = e / 32
      let (step, minimum) = sixBits(4, s)
      let start = format == .q4_k ? 16 : 48
      let offset = start + 32 * (e / 64) + e % 32
      var code = s % 2 == 0 ? low(offset) : high(offset)
      if format == .q5_k { code |= (Int(bytes[16 + e % 32]) >> s & 1) << 4 }
      return half(0) * Float(step) * Float(code) - half(2) * Float(minimum)
    case .q6_k:
      let (n, k, l) = (e / 128, e % 128 / 32, e % 32)
      let offset = 64 * n + l + 32 * (k % 2)
      let code = (k < 2 ? low(offset) : high(offset)) | (Int(bytes[128 + 32 * n + l]) >> (2 * k) & 3) << 4
      return half(208) * Float(signed(192 + e / 16)) * Float(code - 32)
    }
  }
}
