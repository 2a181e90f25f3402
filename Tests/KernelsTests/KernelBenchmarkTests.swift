import Codecs
import Kernels
import Testing

struct KernelBenchmarkTests {
  @Test func measuresWithinReason() throws {
    let benchmark = KernelBenchmark(threadCount: 1)
    let dense = try #require(benchmark.linear(.bf16, .float32, rows: 256, columns: 256, tokens: 24))
    #expect(dense.gigaoperationsPerSecond > 0.01)
    #expect(dense.shareOfPeak < 2)
    let codes = try #require(benchmark.linear(.q4, .int8Block, rows: 256, columns: 256, tokens: 24))
    #expect(codes.gigabytesPerSecond > 0 && codes.threadCount == 1)
    let attention = benchmark.attention(.f16, keys: 100, tokens: 20)
    #expect(attention.gigaoperationsPerSecond > 0.01)
  }

  @Test func codecsMeasureWithinReason() throws {
    let benchmark = try CodecBenchmark(threadCount: 1, columns: 512, seconds: 0.002)
    for codec in [
      GGMLCodec(.q4_k) as any Codec, GGMLCodec(.q8_0), try IntegerGroupCodec(bits: 4, groupSize: 32),
    ] {
      let row = benchmark.measure(codec)
      #expect(row.codec == codec.canonicalName)
      for rate in [row.encodingExtremes, row.encodingSearched, row.decoding] {
        let rate = try #require(rate)
        #expect(rate > 1e-4 && rate < 1000)
      }
    }
  }
}
