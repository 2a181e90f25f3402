import Codecs
import Kernels
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct GPTQReferenceTests {
  let pool = ThreadPool(threadCount: 1, isPinned: false)

  struct Case: CustomStringConvertible {
    var columns: Int
    var groupSize: Int?
    var blockSize: Int
    var description: String { "\(columns) columns, groups \(groupSize ?? -1), blocks \(blockSize)" }
  }

  static let cases = [
    Case(columns: 1, groupSize: 8, blockSize: 128), Case(columns: 5, groupSize: 2, blockSize: 1),
    Case(columns: 17, groupSize: nil, blockSize: 4), Case(columns: 48, groupSize: 16, blockSize: 16),
    Case(columns: 64, groupSize: 32, blockSize: 128), Case(columns: 64, groupSize: 7, blockSize: 10),
    Case(columns: 70, groupSize: 32, blockSize: 40), Case(columns: 70, groupSize: nil, blockSize: 1),
  ]

  @Test(arguments: cases)
  func codesAreTheTextbooks(item: Case) throws {
    for (number, options) in [(true, false), (false, false), (false, true)].enumerated() {
      for isSymmetric in [true, false] {
        let seed = UInt64(item.columns * 100 + item.blockSize + number)
        let codec = try IntegerGroupCodec(
          bits: isSymmetric ? 4 : 3, groupSize: item.groupSize, isSymmetric: isSymmetric)
        let method = GPTQ(
          blockSize: item.blockSize, sequence: options.0 ? .importance : .natural, staticGroups: options.1,
          refinementSweeps: 0)
        try compare(method, codec, rows: 12, item: item, seed: seed)
      }
    }
  }

  /// Float32 and Double part where a value lies on the border of two codes; that must be rare, and then as good.
  private func compare(
    _ method: GPTQ, _ codec: IntegerGroupCodec, rows: Int, item: Case, seed: UInt64, dead: Set<Int> = []
  ) throws {
    let problem = try RandomProblem.correlated(rows: rows, columns: item.columns, seed: seed, dead: dead)
    let hessian = try #require(problem.hessian)
    let expected = TextbookGPTQ(codec: codec, weights: problem.weights, hessian: hessian, method: method)
      .run()
    let solution = try method.solve(problem, codec: codec, pool: pool)
    let found = solution.matrix.codeRows(codec)
    let decoded = solution.matrix.decoded()
    var different = 0
    for row in 0..<rows where found[row] != expected.codes[row] {
      different += 1
      let error = (0..<item.columns).map { Double(problem.weights[row, $0]) - Double(decoded[row, $0]) }
      let energy = DenseAlgebra.energy(error, hessian)
      #expect(energy <= expected.errors[row] * 1.2, "row \(row) of \(item), \(method), seed \(seed)")
    }
    #expect(different <= rows / 12, "\(item), \(codec.canonicalName), \(method), seed \(seed)")
    #expect(solution.report.fallback == nil)
    #expect(solution.report.dampingRetryCount == 0)
  }

  @Test func longGroupsAreCutIntoBlocks() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 1040)
    let problem = try RandomProblem.correlated(rows: 3, columns: 1100, seed: 4, tokens: 60)
    let reference = try GPTQ(blockSize: 65_536, sequence: .natural, refinementSweeps: 0).solve(
      problem, codec: codec, pool: pool)
    let blocks = try GPTQ(blockSize: 100, sequence: .natural, refinementSweeps: 0).solve(
      problem, codec: codec, pool: pool)
    let scales = (
      codec.unpacked(reference.matrix, rows: 0..<3).scales, codec.unpacked(blocks.matrix, rows: 0..<3).scales
    )
    for (expected, found) in zip(scales.0, scales.1) { #expect(abs(expected - found) <= 2e-3 * expected) }
    let ratio = blocks.report.relativeError / reference.report.relativeError
    #expect(abs(ratio - 1) < 0.05, "\(ratio)")
  }

  @Test func deadColumnsAreTheTextbooks() throws {
    let item = Case(columns: 40, groupSize: 16, blockSize: 16)
    for actOrder in [true, false] {
      try compare(
        GPTQ(blockSize: 16, sequence: actOrder ? .importance : .natural, refinementSweeps: 0),
        try IntegerGroupCodec(bits: 4, groupSize: 16), rows: 12,
        item: item,
        seed: 71, dead: [0, 16, 17, 39])
    }
  }
}
