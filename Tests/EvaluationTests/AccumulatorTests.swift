import Evaluation
import Glibc
import SafeIO
import TestSupport
import Testing

@Suite("Perplexity and divergence over many predictions")
struct AccumulatorTests {
  @Test("Perplexity of equal losses has no error")
  func constantLoss() {
    var accumulator = PerplexityAccumulator()
    for _ in 0..<50 { accumulator.add(log(8.0)) }
    let result = accumulator.result
    #expect(abs(result.perplexity - 8) < 1e-12)
    #expect(result.perplexityError < 1e-6)
    #expect(result.tokens == 50)
  }

  @Test("The error is that of the mean loss times the perplexity")
  func errorByHand() {
    var accumulator = PerplexityAccumulator()
    for loss in [1.0, 2, 3, 4] { accumulator.add(loss) }
    // Mean 2.5, population variance 1.25, standard error sqrt(1.25 / 3).
    #expect(abs(accumulator.result.perplexity - exp(2.5)) < 1e-12)
    #expect(abs(accumulator.result.perplexityError - exp(2.5) * (1.25 / 3).squareRoot()) < 1e-12)
    #expect(accumulator.meanLoss == 2.5)
  }

  @Test("No and single predictions")
  func few() {
    var accumulator = PerplexityAccumulator()
    #expect(accumulator.result == PerplexityResult(perplexity: 1, perplexityError: 0, tokens: 0))
    accumulator.add(2)
    #expect(accumulator.result.perplexityError == 0)
    #expect(DivergenceAccumulator().result == nil)
  }

  @Test("Median, percentile and maximum by hand")
  func quantiles() throws {
    var accumulator = DivergenceAccumulator()
    for value in [4.0, 1, 3, 2] { accumulator.add(divergence: value, agrees: value > 1) }
    let result = try #require(accumulator.result)
    #expect(result.mean == 2.5)
    #expect(result.median == 2.5)
    #expect(abs(result.p99 - 3.97) < 1e-6)
    #expect(result.maximum == 4)
    #expect(result.top1Agreement == 0.75)
    #expect(abs(result.error - (1.25 / 3).squareRoot()) < 1e-12)
    #expect(accumulator.values == [4, 1, 3, 2])
    #expect(DivergenceAccumulator.quantile(0.5, of: [7]) == 7)
    #expect(DivergenceAccumulator.quantile(0.25, of: [0, 10, 20, 30, 40]) == 10)
  }

  @Test("Infinite divergences stay at the top and do not spoil the median")
  func infinite() throws {
    var accumulator = DivergenceAccumulator()
    for value in [1.0, .infinity, 2] { accumulator.add(divergence: value, agrees: true) }
    let result = try #require(accumulator.result)
    #expect(result.median == 2)
    #expect(result.maximum == .infinity)
    #expect(result.mean == .infinity)
  }

  @Test("Keys of the results, in order")
  func keys() throws {
    var divergence = DivergenceAccumulator()
    divergence.add(divergence: 0.5, agrees: true)
    let perplexity = PerplexityResult(perplexity: 2, perplexityError: 0.25, tokens: 3)
    let report = EvaluationReport(perplexity: perplexity, divergence: divergence.result)
    #expect(
      report.json.objectValue?.keys == [
        "perplexity", "perplexity_error", "tokens", "kl_mean", "kl_error", "kl_median", "kl_p99", "kl_max",
        "top1_agreement",
      ])
    #expect(report.json["tokens"] == 3)
    #expect(report.json["kl_median"] == JSONValue.number(0.5))
    let model = ModelMeasurement(
      name: "m", fileByteCount: 10, bitsPerWeight: 4.5, perplexity: perplexity,
      speed: .init(prefill: 100, decode: 10, peakByteCount: 77, timeToFirstToken: 1.5))
    #expect(
      model.json.serialized()
        == #"{"model":"m","file_bytes":10,"bits_per_weight":4.5,"perplexity":2.0,"perplexity_error":0.25,"#
        + #""tokens":3,"prefill_ts":100.0,"decode_ts":10.0,"peak_bytes":77,"ttft_ms":1.5}"#)
  }
}
