import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Zstandard") struct ZstdTests {
  private let sample = Array("to be or not to be, that is the question; to be or not to be".utf8)

  @Test("gives back what it got", arguments: [0, 1, 60, 1 << 17, 1 << 20])
  func roundTrip(count: Int) throws {
    var generator = SeededGenerator(seed: UInt64(count))
    let bytes = (0..<count).map { _ in UInt8.random(in: 0..<9, using: &generator) }
    let frame = try Zstd.compress(bytes)
    #expect(try Zstd.compress(bytes) == frame)
    #expect(try Zstd.decompress(frame, expectedByteCount: count) == bytes)
    if count > 100 { #expect(frame.count < count) }
  }

  @Test("refuses frames that are not as announced")
  func lies() throws {
    let frame = try Zstd.compress(sample)
    for count in [0, sample.count - 1, sample.count + 1, .max, -1] {
      #expect(throws: SafeIOError.self) { try Zstd.decompress(frame, expectedByteCount: count) }
    }
    #expect(throws: SafeIOError.self) { try Zstd.decompress(frame + frame, expectedByteCount: sample.count) }
    #expect(throws: SafeIOError.self) { try Zstd.decompress(frame + [0], expectedByteCount: sample.count) }
    #expect(throws: SafeIOError.self) { try Zstd.decompress([], expectedByteCount: 0) }
    let skippable: [UInt8] = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0]
    #expect(throws: SafeIOError.self) { try Zstd.decompress(skippable, expectedByteCount: 0) }
  }

  @Test("finds truncation and every flipped bit of the content")
  func damage() throws {
    let frame = try Zstd.compress(sample)
    for length in 0..<frame.count {
      #expect(throws: SafeIOError.self) {
        try Zstd.decompress(Array(frame.prefix(length)), expectedByteCount: sample.count)
      }
    }
    for index in frame.indices {
      for bit in 0..<8 {
        var bytes = frame
        bytes[index] ^= 1 << bit
        let result = try? Zstd.decompress(bytes, expectedByteCount: sample.count)
        #expect(result == nil || result == sample, "byte \(index) bit \(bit)")
      }
    }
  }

  @Test("asks for no memory that a frame cannot fill")
  func bomb() throws {
    // A header that announces 2^60 bytes (single segment, eight-byte content size) and one empty last block.
    let liar: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x01, 0, 0]
    #expect(throws: SafeIOError.self) { try Zstd.decompress(liar, expectedByteCount: 1 << 60) }
    // A window of 2^41 bytes, no content size.
    let window: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 0x01, 0, 0]
    #expect(throws: SafeIOError.self) { try Zstd.decompress(window, expectedByteCount: 1 << 41) }
  }
}
