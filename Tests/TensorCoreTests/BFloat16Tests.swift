import TensorCore
import TestSupport
import Testing

@Suite struct BFloat16Tests {
  @Test func everyBFloat16ComesBack() {
    for bits in UInt16.min...UInt16.max {
      let value = SmallFloat.float(bfloat16: bits)
      if value.isNaN {
        #expect(SmallFloat.float(bfloat16: SmallFloat.bfloat16(value)).isNaN)
      } else if SmallFloat.bfloat16(value) != bits {
        Issue.record("\(bits) became \(SmallFloat.bfloat16(value))")
      }
    }
  }

  @Test func tiesGoToTheEvenMantissa() {
    for (bits, expected): (UInt32, UInt16) in [
      (0x3F80_8000, 0x3F80), (0x3F81_8000, 0x3F82), (0x3F80_8001, 0x3F81), (0x3F80_7FFF, 0x3F80),
      (0xBF80_8000, 0xBF80), (0xBF81_8000, 0xBF82), (0x3FFF_8000, 0x4000), (0x0000_8000, 0x0000),
      (0x0000_8001, 0x0001), (0x0001_8000, 0x0002), (0x8000_0000, 0x8000), (0x7F7F_8000, 0x7F80),
      (0x7F7F_7FFF, 0x7F7F), (0x7F80_0000, 0x7F80), (0xFF80_0000, 0xFF80),
    ] {
      #expect(SmallFloat.bfloat16(Float(bitPattern: bits)) == expected, "\(String(bits, radix: 16))")
    }
  }

  @Test func notANumberStaysQuietAndKeepsItsSign() {
    for bits: UInt32 in [0x7F80_0001, 0x7FC0_0000, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF] {
      let rounded = SmallFloat.bfloat16(Float(bitPattern: bits))
      #expect(SmallFloat.float(bfloat16: rounded).isNaN)
      #expect(rounded & 0x40 != 0)
      #expect(rounded >> 15 == UInt16(bits >> 31))
    }
  }

  @Test func roundingIsToTheNearest() {
    let seed: UInt64 = 17
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<20_000 {
      let value = Float(bitPattern: UInt32(truncatingIfNeeded: generator.next()))
      guard value.isFinite, abs(value) < 3e38 else { continue }
      let bits = SmallFloat.bfloat16(value)
      let distance = abs(Double(SmallFloat.float(bfloat16: bits)) - Double(value))
      for neighbour in [bits &- 1, bits &+ 1] {
        let other = SmallFloat.float(bfloat16: neighbour)
        guard other.isFinite else { continue }
        #expect(distance <= abs(Double(other) - Double(value)), "\(value), seed \(seed)")
      }
    }
  }
}
