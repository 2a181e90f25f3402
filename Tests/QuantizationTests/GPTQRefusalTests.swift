import Codecs
import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct GPTQRefusalTests {
  let pool = ThreadPool(threadCount: 1, isPinned: false)
  let codec: IntegerGroupCodec

  init() throws { codec = try IntegerGroupCodec(bits: 4, groupSize: 16) }

  private func refusal(_ problem: LayerProblem, _ method: any QuantizationMethod = GPTQ()) throws
    -> Diagnostic
  {
    try #require(throws: QuantizationError.self) { try method.solve(problem, codec: codec, pool: pool) }
      .diagnostic
  }

  private func problem(_ hessian: Hessian?, columns: Int = 20) throws -> LayerProblem {
    LayerProblem(
      name: "the.layer", weights: try RandomProblem.weights(rows: 6, columns: columns, seed: 1),
      hessian: hessian)
  }

  @Test func fewerTokensThanInputsSucceedByDamping() throws {
    for tokens in [1, 5] {
      let problem = try RandomProblem.correlated(rows: 6, columns: 40, seed: 3, tokens: tokens)
      let report = try GPTQ().solve(problem, codec: codec, pool: pool).report
      #expect(report.fallback == nil)
      #expect((report.damping, report.dampingRetryCount) == (0.01, 0))
      #expect(report.relativeError < report.roundingRelativeError)
    }
  }

  @Test func dampingIsRaisedUntilTheFactorExists() throws {
    // Eigenvalues 0, then -0.05, then -0.5: nothing, a tenth and the whole of the mean diagonal mend them.
    for (other, start, damping, retries) in [
      (Float(1), 0.0, 0.01, 1), (1.05, 0.01, 0.1, 1), (1.5, 0.01, 1, 2),
    ] {
      let hessian = try RandomProblem.hessian(columns: 20, diagonal: 1, other: other)
      let report = try GPTQ(damping: start).solve(problem(hessian), codec: codec, pool: pool).report
      #expect(report.fallback == nil)
      #expect(abs(report.damping - damping) < 1e-12)
      #expect(report.dampingRetryCount == retries)
    }
  }

  @Test func indefiniteHessianFallsBackToRoundingAndSaysSo() throws {
    let problem = try problem(try RandomProblem.hessian(columns: 20, diagonal: 1, other: 20))
    let solution = try GPTQ().solve(problem, codec: codec, pool: pool)
    let rounded = try RoundToNearest(scaleSearch: .standard).solve(problem, codec: codec, pool: pool)
    #expect(solution.matrix.planeBytes == rounded.matrix.planeBytes)
    let reason = try #require(solution.report.fallback)
    #expect(reason.contains("Cholesky"))
    #expect(solution.report.method == "gptq")
    #expect(solution.report.dampingRetryCount == 4)
    #expect(solution.report.relativeError == solution.report.roundingRelativeError)
    #expect(solution.report.bitsPerWeight == codec.bitsPerWeight(columns: 20))
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func nonFiniteWeightsAreRefused(value: Float) throws {
    var weights = try RandomProblem.weights(rows: 6, columns: 20, seed: 1)
    weights[2, 7] = value
    let hessian = try RandomProblem.hessian(columns: 20, tokens: 30, seed: 1)
    for method: any QuantizationMethod in [GPTQ(), RoundToNearest()] {
      let diagnostic = try refusal(
        LayerProblem(name: "the.layer", weights: weights, hessian: hessian), method)
      #expect(diagnostic.code == "quantization.non-finite")
      #expect(diagnostic.subject == "the.layer")
      #expect(diagnostic.message.contains("the weight") && diagnostic.message.contains("47"))
    }
  }

  @Test(arguments: [Float.nan, .infinity], [0, 21, 33])
  func nonFiniteHessiansAreRefused(value: Float, index: Int) throws {
    var values = try RandomProblem.hessian(columns: 20, tokens: 30, seed: 1).values
    values[index] = value
    let hessian = try Hessian(size: 20, values: values, tokenCount: 30)
    for method: any QuantizationMethod in [GPTQ(), RoundToNearest()] {
      #expect(try refusal(problem(hessian), method).code == "quantization.non-finite")
    }
  }

  @Test func negativeMeanSquaresAreRefused() throws {
    let hessian = try RandomProblem.hessian(columns: 20, diagonal: -1, other: 0)
    #expect(try refusal(problem(hessian)).code == "quantization.negative-mean-square")
  }

  @Test func sizesThatDoNotFitAreRefused() throws {
    let hessian = try RandomProblem.hessian(columns: 19, tokens: 30, seed: 1)
    for method: any QuantizationMethod in [GPTQ(), RoundToNearest()] {
      #expect(try refusal(problem(hessian), method).code == "quantization.shape")
    }
    #expect(throws: TensorCoreError.self) { try Hessian(size: 3, values: [1, 2, 3], tokenCount: 1) }
    #expect(throws: TensorCoreError.self) { try Hessian(size: Int.max, values: [], tokenCount: 1) }
    #expect(throws: TensorCoreError.self) { try Hessian(size: -1, values: [1], tokenCount: 1) }
    let importance = LayerProblem(
      name: "l", weights: try RandomProblem.weights(rows: 1, columns: 4, seed: 1), importance: [1, 2, 3])
    #expect(try refusal(importance, RoundToNearest()).code == "quantization.shape")
  }

  @Test func emptyStatisticsAreRefused() throws {
    let values = try RandomProblem.hessian(columns: 20, tokens: 30, seed: 1).values
    for hessian in [
      try Hessian(size: 20, values: values, tokenCount: 0),
      try RandomProblem.hessian(columns: 20, diagonal: 0, other: 0),
    ] {
      #expect(try refusal(problem(hessian)).code == "quantization.empty-statistics")
    }
    let missing = try refusal(problem(nil))
    #expect(missing.code == "quantization.missing-statistics")
    #expect(missing.hint?.contains("--corpus") == true)
    let empty = LayerProblem(
      name: "l", weights: FloatMatrix(zeros: 3, 0), hessian: try Hessian(size: 0, values: [], tokenCount: 9))
    #expect(try refusal(empty).code == "quantization.empty-statistics")
  }

  @Test func codecsWithoutAGridAreRefused() throws {
    let problem = try RandomProblem.correlated(rows: 2, columns: 8, seed: 1)
    let error = try #require(throws: QuantizationError.self) {
      try GPTQ().solve(problem, codec: Gridless(inner: codec), pool: pool)
    }
    #expect(error.diagnostic.code == "quantization.codec")
    #expect(error.description.contains("gridless"))
    let rounded = try RoundToNearest().solve(problem, codec: Gridless(inner: codec), pool: pool)
    let plain = try RoundToNearest().solve(problem, codec: codec, pool: pool)
    #expect(rounded.matrix.decoded() == plain.matrix.decoded())
  }

  @Test func scalesThatOverflowAreAnErrorAndNoTrap() throws {
    for actOrder in [true, false] {
      let small = try RandomProblem.correlated(rows: 6, columns: 40, seed: 6)
      var weights = small.weights
      weights[4, 20] = 1e7
      let error = try #require(throws: QuantizationError.self) {
        try GPTQ(sequence: actOrder ? .importance : .natural).solve(
          LayerProblem(name: "the.layer", weights: weights, hessian: small.hessian), codec: codec, pool: pool)
      }
      #expect(error.diagnostic.code == "codec.scale-overflow")
      #expect(error.diagnostic.subject == "the.layer")
    }
  }

  @Test func scalesThatOnlyCompensationOverflowsFallBackToRounding() throws {
    let small = try RandomProblem.correlated(rows: 30, columns: 64, seed: 7)
    let largest = small.weights.values.map { abs($0) }.max() ?? 1
    let scale: Float = 65_000 * 7.5 / largest
    for bits in [2, 4] {
      let weights = try FloatMatrix(
        rows: 30, columns: 64, values: small.weights.values.map { $0 * (bits == 4 ? scale : scale / 5) })
      let solution = try GPTQ(sequence: .natural).solve(
        LayerProblem(name: "l", weights: weights, hessian: small.hessian),
        codec: IntegerGroupCodec(bits: bits, groupSize: 4), pool: pool)
      #expect(solution.matrix.decoded().values.allSatisfy { $0.isFinite })
      #expect(solution.report.relativeError.isFinite)
    }
  }
}

/// A codec that shows no grid.
private struct Gridless: Codec {
  let inner: IntegerGroupCodec
  var canonicalName: String { "gridless" }
  func bitsPerWeight(columns: Int) -> Double { inner.bitsPerWeight(columns: columns) }
  func encode(
    _ matrix: FloatMatrix, importance: [Float]?, search: ScaleSearch
  ) throws(CodecError) -> EncodedMatrix {
    try inner.encode(matrix, importance: importance, search: search)
  }
  func validate(_ matrix: EncodedMatrix) throws(CodecError) { try inner.validate(matrix) }
  func decode(_ matrix: EncodedMatrix, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) {
    unsafe inner.decode(matrix, rows: rows, into: target)
  }
}
