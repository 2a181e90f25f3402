import Codecs
import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct GPTQLawTests {
  let pool = ThreadPool(threadCount: 2, isPinned: false)
  static let variants = [
    GPTQ(), GPTQ(sequence: .natural, refinementSweeps: 0),
    GPTQ(sequence: .natural, staticGroups: true, refinementSweeps: 0),
    GPTQ(blockSize: 8, sequence: .importance, scaleSearch: .extremes),
  ]

  @Test(arguments: variants.indices)
  func identityHessianGivesRounding(variant: Int) throws {
    let method = Self.variants[variant]
    for groupSize in [nil, 16, 24] {
      let codec = try IntegerGroupCodec(bits: 3, groupSize: groupSize, isSymmetric: variant % 2 == 0)
      let weights = try RandomProblem.weights(rows: 70, columns: 60, seed: 2)
      let identity = try RandomProblem.hessian(columns: 60, diagonal: 1, other: 0)
      let problem = LayerProblem(name: "layer", weights: weights, hessian: identity)
      let solution = try method.solve(problem, codec: codec, pool: pool)
      let rounded = try RoundToNearest(scaleSearch: method.scaleSearch).solve(
        problem, codec: codec, pool: pool)
      #expect(solution.matrix.planeBytes == rounded.matrix.planeBytes)
      #expect(solution.report.relativeError == solution.report.roundingRelativeError)
    }
  }

  @Test(arguments: variants.indices, UInt64(1)...5)
  func neverWorseThanRoundingAndBetterOnCorrelatedInputs(variant: Int, seed: UInt64) throws {
    let method = Self.variants[variant]
    let columns = [24, 64, 100, 128, 33][Int(seed) - 1]
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32, isSymmetric: seed % 2 == 0)
    let problem = try RandomProblem.correlated(rows: 40, columns: columns, seed: seed)
    let hessian = try #require(problem.hessian)
    let solution = try method.solve(problem, codec: codec, pool: pool)
    let rounded = try RoundToNearest(scaleSearch: method.scaleSearch).solve(problem, codec: codec, pool: pool)
    let found = DenseAlgebra.outputError(problem.weights, solution.matrix.decoded(), hessian)
    let plain = DenseAlgebra.outputError(problem.weights, rounded.matrix.decoded(), hessian)
    #expect(solution.matrix.planeBytes != rounded.matrix.planeBytes, "GPTQ did nothing, seed \(seed)")
    #expect(found < 0.7 * plain, "\(found) against \(plain), seed \(seed)")

    let zero = FloatMatrix(zeros: 40, columns)
    let energy = DenseAlgebra.outputError(problem.weights, zero, hessian)
    #expect(abs(solution.report.relativeError * energy / found - 1) < 1e-2)
    #expect(abs(solution.report.roundingRelativeError * energy / plain - 1) < 1e-2)
    #expect(abs(rounded.report.relativeError * energy / plain - 1) < 1e-2)
    #expect(solution.report.tokenCount == hessian.tokenCount)
    #expect(solution.report.bitsPerWeight == codec.bitsPerWeight(columns: columns))
  }

  @Test(arguments: 2...8)
  func noRowIsWorseThanRounding(bits: Int) throws {
    let codec = try IntegerGroupCodec(bits: bits, groupSize: 16, isSymmetric: false)
    for seed in UInt64(30)...34 {
      let problem = try RandomProblem.correlated(rows: 20, columns: 48, seed: seed, tokens: 6)
      let hessian = try #require(problem.hessian)
      let solution = try GPTQ().solve(problem, codec: codec, pool: pool)
      let rounded = try RoundToNearest(scaleSearch: .standard).solve(problem, codec: codec, pool: pool)
      let (found, plain) = (solution.matrix.decoded(), rounded.matrix.decoded())
      for row in 0..<20 {
        func energy(_ matrix: FloatMatrix) -> Double {
          DenseAlgebra.energy((0..<48).map { Double(problem.weights[row, $0] - matrix[row, $0]) }, hessian)
        }
        #expect(energy(found) <= energy(plain) * 1.001 + 1e-9, "row \(row), \(bits) bits, seed \(seed)")
      }
    }
  }

  @Test(arguments: variants.indices, [true, false])
  func deadColumnsBecomeZeroAndAreCounted(variant: Int, isSymmetric: Bool) throws {
    let dead: Set = [0, 9, 31, 32, 47]
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 16, isSymmetric: isSymmetric)
    let problem = try RandomProblem.correlated(rows: 9, columns: 48, seed: 12, dead: dead)
    let solution = try Self.variants[variant].solve(problem, codec: codec, pool: pool)
    let decoded = solution.matrix.decoded()
    for row in 0..<9 { for column in dead { #expect(decoded[row, column] == 0) } }
    #expect(solution.report.deadColumnCount == dead.count)
    #expect(decoded.values.contains { $0 != 0 })
  }

  @Test func oneLiveColumnIsEnough() throws {
    let problem = try RandomProblem.correlated(
      rows: 4, columns: 8, seed: 5, dead: Set(0..<8).subtracting([3]))
    let solution = try GPTQ().solve(
      problem, codec: try IntegerGroupCodec(bits: 4, groupSize: nil), pool: pool)
    #expect(solution.report.deadColumnCount == 7)
    #expect(solution.report.relativeError < 0.01)
  }

  @Test(arguments: variants.indices)
  func theNumberOfThreadsDoesNotChangeABit(variant: Int) throws {
    let problem = try RandomProblem.correlated(rows: 200, columns: 96, seed: 8)
    for codec in [
      try IntegerGroupCodec(bits: 4, groupSize: 32),
      try IntegerGroupCodec(bits: 3, groupSize: nil, isSymmetric: false),
    ] {
      let method = Self.variants[variant]
      let solutions = try [1, 2, 3].map { count in
        try method.solve(problem, codec: codec, pool: ThreadPool(threadCount: count, isPinned: false))
      }
      for solution in solutions.dropFirst() {
        #expect(solution.matrix.planeBytes == solutions[0].matrix.planeBytes)
        #expect(solution.report == solutions[0].report)
      }
    }
  }

  @Test(arguments: [0.0, 0.01, 0.1])
  func inverseFactorIsAFactorOfTheInverse(damping: Double) throws {
    for (columns, seed) in [(1, UInt64(1)), (2, 2), (13, 3), (40, 4)] {
      let hessian = try RandomProblem.hessian(columns: columns, tokens: 6 * columns, seed: seed)
      var generator = SeededGenerator(seed: seed)
      let order = Array(0..<columns).shuffled(using: &generator)
      let factor = InverseFactor.factorize(hessian, order: order, damping: damping)
      let upper = try #require(factor.upper).map(Double.init)
      #expect((factor.damping, factor.retryCount) == (damping, 0))
      let matrix = DenseAlgebra.damped(hessian, share: damping)
      let inverse = DenseAlgebra.inverse(order.map { row in order.map { matrix[row][$0] } })
      let scale = inverse.indices.map { inverse[$0][$0] }.max() ?? 1
      for row in 0..<columns {
        for column in 0..<columns {
          let product = (0...min(row, column)).reduce(0.0) {
            $0 + upper[$1 * columns + row] * upper[$1 * columns + column]
          }
          #expect(abs(product - inverse[row][column]) <= 1e-5 * scale, "\(columns) columns, seed \(seed)")
          if column < row { #expect(upper[row * columns + column] == 0) }
        }
      }
    }
  }
}
