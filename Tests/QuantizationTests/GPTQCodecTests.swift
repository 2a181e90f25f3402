import Codecs
import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

/// GPTQ with codecs other than integer groups.
@Suite struct GPTQCodecTests {
  let pool = ThreadPool(threadCount: 2, isPinned: false)
  static let names = [
    "int3-g40-sym", "q4_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs",
    "nf4-g64",
    "fp4-g64", "mxfp4", "nvfp4", "affine4-g64", "fp8_e4m3-channel", "fp8_e4m3-tensor", "fp8_e4m3-b128",
  ]

  @Test(arguments: names, ColumnSequence.allCases)
  func isBetterThanRoundingAndTellsItsError(name: String, sequence: ColumnSequence) throws {
    let codec = try CodecRegistry.codec(canonicalName: name)
    let problem = try RandomProblem.correlated(rows: 70, columns: 256, seed: 21, tokens: 300, dead: [7, 255])
    let hessian = try #require(problem.hessian)
    let method = GPTQ(sequence: sequence)
    let solution = try method.solve(problem, codec: codec, pool: pool)
    #expect(solution.matrix.codec.canonicalName == name)
    let found = DenseAlgebra.outputError(problem.weights, solution.matrix.decoded(), hessian)
    let energy = DenseAlgebra.outputError(problem.weights, FloatMatrix(zeros: 70, 256), hessian)
    #expect(abs(solution.report.relativeError * energy / found - 1) < 1e-2)
    #expect(solution.report.relativeError < 0.8 * solution.report.roundingRelativeError)
  }

  @Test(arguments: names) func descentNeverMakesItWorse(name: String) throws {
    let codec = try CodecRegistry.codec(canonicalName: name)
    let problem = try RandomProblem.correlated(rows: 20, columns: 256, seed: 22, tokens: 300)
    let errors = try [0, 1, 4].map { rounds in
      try GPTQ(refinementSweeps: rounds).solve(problem, codec: codec, pool: pool).report.relativeError
    }
    // More sweeps before a fit of the scales may end in another minimum, hence the hundredth.
    #expect(errors[1] <= errors[0] * 1.0001 && errors[2] <= errors[1] * 1.01, "\(errors)")
    #expect(errors[2] < errors[0], "descent changed nothing: \(errors)")
  }

  @Test(arguments: ["q4_k", "nvfp4", "fp8_e4m3-b128"])
  func theNumberOfThreadsDoesNotChangeABit(name: String) throws {
    let codec = try CodecRegistry.codec(canonicalName: name)
    let problem = try RandomProblem.correlated(rows: 150, columns: 256, seed: 23, tokens: 200)
    let solutions = try [1, 3].map { count in
      try GPTQ().solve(problem, codec: codec, pool: ThreadPool(threadCount: count, isPinned: false))
    }
    #expect(solutions[0].matrix.planeBytes == solutions[1].matrix.planeBytes)
    #expect(solutions[0].report == solutions[1].report)
  }

  @Test(arguments: ["iq2_xxs", "iq3_s", "tq2_0"]) func codebooksAreRefusedByName(name: String) throws {
    let problem = try RandomProblem.correlated(rows: 4, columns: 256, seed: 24, tokens: 20)
    let error = try #require(throws: QuantizationError.self) {
      try GPTQ().solve(problem, codec: try CodecRegistry.codec(canonicalName: name), pool: pool)
    }
    #expect(error.diagnostic.code == "quantization.codec")
    #expect(error.description.contains(name))
  }
}
