import Codecs
import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

/// Coordinate descent and correction after GPTQ, as the registry's defaults have them.
@Suite struct RefinementTests {
  let pool = ThreadPool(threadCount: 2, isPinned: false)

  static func codecs() throws -> [any Codec] {
    [
      try IntegerGroupCodec(bits: 2, groupSize: 16),
      try IntegerGroupCodec(bits: 3, groupSize: 24, isSymmetric: false),
      try IntegerGroupCodec(bits: 4, groupSize: nil),
      try IntegerGroupCodec(bits: 8, groupSize: 32, scaleType: .f32),
    ]
  }

  /// What refined GPTQ says of its errors is true, no row is worse than without, and most layers are better.
  @Test(arguments: [UInt64(1), 2, 3])
  func refinementLowersTheOutputError(seed: UInt64) throws {
    for codec in try Self.codecs() {
      for dead in [Set<Int>(), [0, 5, 40]] {
        let problem = try RandomProblem.correlated(rows: 70, columns: 100, seed: seed, dead: dead)
        let hessian = try #require(problem.hessian)
        let plain = try GPTQ().solve(problem, codec: codec, pool: pool)
        let refined = try GPTQ(refinementSweeps: 2).solve(problem, codec: codec, pool: pool)
        let energy = DenseAlgebra.outputError(
          problem.weights, FloatMatrix(zeros: 70, 100), hessian)
        let before = DenseAlgebra.outputError(problem.weights, plain.matrix.decoded(), hessian)
        let after = DenseAlgebra.outputError(problem.weights, refined.matrix.decoded(), hessian)
        #expect(after < before, "\(codec.canonicalName), seed \(seed)")
        #expect(abs(after / energy - refined.report.relativeError) < 2e-3 * after / energy + 1e-7)
        #expect(refined.report.unrefinedRelativeError == plain.report.relativeError)
        #expect(plain.report.unrefinedRelativeError == nil)
        #expect(refined.matrix.byteCount == plain.matrix.byteCount)
      }
    }
  }

  @Test func theNumberOfThreadsDoesNotChangeAByte() throws {
    let codec = try IntegerGroupCodec(bits: 3, groupSize: 32)
    let problem = try RandomProblem.correlated(rows: 150, columns: 96, seed: 5)
    let method = GPTQ(refinementSweeps: 3)
    let alone = try method.solve(problem, codec: codec, pool: ThreadPool(threadCount: 1, isPinned: false))
    let together = try method.solve(problem, codec: codec, pool: pool)
    #expect(alone.matrix.planeBytes == together.matrix.planeBytes)
  }

  /// A code that no single change improves: sweeps until nothing moves give a matrix that each code is best in.
  @Test func manySweepsEndWhereNoCodeCanBeBetterAlone() throws {
    let codec = try IntegerGroupCodec(bits: 2, groupSize: 8, scaleType: .f32)
    let problem = try RandomProblem.correlated(rows: 6, columns: 24, seed: 8)
    let hessian = try #require(problem.hessian)
    let matrix = try GPTQ(refinementSweeps: 200).solve(problem, codec: codec, pool: pool).matrix
    let best = DenseAlgebra.outputError(problem.weights, matrix.decoded(), hessian)
    let (codes, scales) = (
      codec.unpacked(matrix, rows: 0..<6).codes, codec.unpacked(matrix, rows: 0..<6).scales
    )
    for place in codes.indices {
      for code in UInt8(0)...3 where code != codes[place] {
        var changed = matrix.decoded()
        changed.values[place] = scales[place / 24 * 3 + place % 24 / 8] * (Float(code) - 2)
        let error = DenseAlgebra.outputError(problem.weights, changed, hessian)
        #expect(error > best * 0.9999, "code \(code) at \(place)")
      }
    }
  }

  /// With 8 bits the rounding hardly counts: what is left is how well the layer undoes what happened to its inputs.
  @Test func asymmetryUndoesWhatHappenedToTheInputs() throws {
    let (columns, tokens) = (32, 200)
    let inputs = RandomProblem.inputs(columns: columns, tokens: tokens, seed: 11)
    var generator = SeededGenerator(seed: 12)
    let original = inputs.map { row in
      row.indices.map { row[$0] + 0.3 * row[(7 * $0 + 3) % columns] + 0.05 * Double(generator.normals(1)[0]) }
    }
    var drift = [Float](repeating: 0, count: columns * columns)
    for row in 0..<columns {
      for column in 0..<columns {
        let sum = (0..<tokens).reduce(0.0) { $0 + (original[$1][row] - inputs[$1][row]) * inputs[$1][column] }
        drift[row * columns + column] = Float(sum / Double(tokens))
      }
    }
    let weights = try RandomProblem.weights(rows: 10, columns: columns, seed: 13)
    let hessian = try RandomProblem.hessian(columns: columns, tokens: tokens, seed: 11)
    let problem = LayerProblem(
      name: "layer", weights: weights, hessian: hessian,
      drift: try InputDrift(cross: drift, hessian: hessian, layer: "layer", pool: pool))
    let codec = try IntegerGroupCodec(bits: 8, groupSize: nil)
    let errors = try [0, 0.5, 1].map { share in
      let matrix = try GPTQ(asymmetry: share).solve(problem, codec: codec, pool: pool).matrix.decoded()
      return (0..<tokens).reduce(0.0) { sum, token in
        (0..<10).reduce(sum) { sum, row in
          let difference = (0..<columns).reduce(0.0) {
            $0 + Double(weights[row, $1]) * original[token][$1] - Double(matrix[row, $1]) * inputs[token][$1]
          }
          return sum + difference * difference
        }
      }
    }
    #expect(errors[1] < 0.5 * errors[0])
    #expect(errors[2] < 0.5 * errors[1])
  }

  @Test func whatIsNotCorrectedIsReported() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: nil)
    let problem = try RandomProblem.correlated(rows: 4, columns: 8, seed: 1)
    let hessian = try #require(problem.hessian)
    func reason(_ asymmetry: Double, _ drift: InputDrift?) throws -> String? {
      let problem = LayerProblem(name: "l", weights: problem.weights, hessian: hessian, drift: drift)
      return try GPTQ(asymmetry: asymmetry).solve(problem, codec: codec, pool: pool).report.uncorrected
    }
    let cross = [Float](repeating: 0.01, count: 64)
    let drift = try InputDrift(cross: cross, hessian: hessian, layer: "l", pool: pool)
    let flat = try Hessian(size: 8, values: [Float](repeating: 0, count: 64), tokenCount: 4)
    let unsolved = try InputDrift(cross: cross, hessian: flat, layer: "l", pool: pool)
    #expect(try reason(0, nil) == nil)
    #expect(try reason(0.5, drift) == nil)
    #expect(try reason(0.5, nil)?.contains("not compared") == true)
    #expect(try reason(0.5, unsolved)?.contains("Cholesky") == true)
  }

  @Test func damagedDriftIsRefused() throws {
    let problem = try RandomProblem.correlated(rows: 4, columns: 8, seed: 1)
    let codec = try IntegerGroupCodec(bits: 4, groupSize: nil)
    let hessian = try #require(problem.hessian)
    for (cross, code) in [
      ([Float](repeating: 0, count: 63), "quantization.shape"),
      ([Float](repeating: .nan, count: 64), "quantization.non-finite"),
    ] {
      let error = try #require(throws: QuantizationError.self) {
        try InputDrift(cross: cross, hessian: hessian, layer: "l", pool: pool)
      }
      #expect(error.diagnostic.code == code)
    }
    let small = try RandomProblem.hessian(columns: 6, diagonal: 1, other: 0)
    let foreign = LayerProblem(
      name: "l", weights: problem.weights, hessian: hessian,
      drift: try InputDrift(cross: [Float](repeating: 0, count: 36), hessian: small, layer: "l", pool: pool))
    #expect(throws: QuantizationError.self) {
      try GPTQ(asymmetry: 0.5).solve(foreign, codec: codec, pool: pool)
    }
  }

  @Test func theRegistrysDefaultsRefineAndCorrect() throws {
    let method = try #require(try MethodRegistry.method(named: "gptq") as? GPTQ)
    #expect(method.asymmetry == 0.5 && method.refinementSweeps == 2 && method.need == .drift)
    let paper = try MethodRegistry.method(named: "gptq", options: ["asymmetry": "0", "refine": "0"])
    #expect(paper.need == .hessian)
    for option in [("asymmetry", "1.5"), ("asymmetry", "nan"), ("refine", "-1"), ("refine", "two")] {
      #expect(throws: QuantizationError.self) {
        try MethodRegistry.method(named: "gptq", options: [option.0: option.1])
      }
    }
  }
}
