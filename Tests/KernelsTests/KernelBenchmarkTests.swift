import Kernels
import Testing

struct KernelBenchmarkTests {
  @Test func measuresWithinReason() throws {
    let benchmark = KernelBenchmark(threadCount: 1)
    let dense = try #require(benchmark.linear(.bf16, .float32, rows: 256, columns: 256, tokens: 24))
    #expect(dense.gigaoperationsPerSecond > 0.01)
    #expect(dense.shareOfPeak < 2)
    let codes = try #require(benchmark.linear(.q4, .int8, rows: 256, columns: 256, tokens: 24))
    #expect(codes.gigabytesPerSecond > 0 && codes.threadCount == 1)
    let attention = benchmark.attention(.f16, keys: 100, tokens: 20)
    #expect(attention.gigaoperationsPerSecond > 0.01)
  }
}
