import Codecs
import TestSupport
import Testing

@Suite struct BitPackingTests {
  @Test(arguments: 1...8)
  func packingIsTheBitStreamAndUnpackingItsInverse(bits: Int) {
    let seed = UInt64(100 + bits)
    var generator = SeededGenerator(seed: seed)
    for count in [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 129, 1000] {
      let codes = (0..<count).map { _ in UInt8.random(in: 0...UInt8(1 << bits - 1), using: &generator) }
      var bytes = [UInt8](repeating: 0, count: BitPacking.bytesPerRow(count: count, bits: bits))
      var byteSpan = bytes.mutableSpan
      BitPacking.pack(codes.span, bits: bits, into: &byteSpan)
      #expect(bytes == reference(codes, bits: bits), "\(count) codes of \(bits) bits, seed \(seed)")

      var unpacked = [UInt8](repeating: 255, count: count)
      var codeSpan = unpacked.mutableSpan
      BitPacking.unpack(bytes.span, bits: bits, into: &codeSpan)
      #expect(unpacked == codes, "\(count) codes of \(bits) bits, seed \(seed)")
    }
  }

  /// Sets one bit after another; the bits that pad the last byte are zero.
  private func reference(_ codes: [UInt8], bits: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: (codes.count * bits + 7) / 8)
    for (index, code) in codes.enumerated() {
      for bit in 0..<bits where code >> UInt8(bit) & 1 == 1 {
        let position = index * bits + bit
        bytes[position / 8] |= 1 << UInt8(position % 8)
      }
    }
    return bytes
  }
}
