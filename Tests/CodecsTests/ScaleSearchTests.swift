import Codecs
import TensorCore
import TestSupport
import Testing

@Suite struct ScaleSearchTests {
  /// Weighted squared error of a codec's rounding, in Double.
  private func error(
    _ codec: IntegerGroupCodec, _ matrix: FloatMatrix, importance: [Float]?, measuredUnder weights: [Float]?,
    search: ScaleSearch
  ) throws -> Double {
    let decoded = try codec.encode(matrix, importance: importance, search: search).decoded()
    return matrix.values.indices.reduce(0.0) { sum, index in
      let difference = Double(matrix.values[index]) - Double(decoded.values[index])
      return sum + difference * difference * Double(weights?[index % matrix.columns] ?? 1)
    }
  }

  @Test(arguments: 2...8, [true, false])
  func leastSquaresIsNeverWorseThanExtremes(bits: Int, isSymmetric: Bool) throws {
    for seed in UInt64(1)...6 {
      var generator = SeededGenerator(seed: seed)
      let matrix = try TestMatrix.normal(6, 75, seed: seed &* 31)
      let importance: [Float]? = seed % 2 == 0 ? generator.normals(75).map { $0 * $0 } : nil
      for groupSize in [nil, 32, 5] {
        let codec = try IntegerGroupCodec(bits: bits, groupSize: groupSize, isSymmetric: isSymmetric)
        let plain = try error(
          codec, matrix, importance: importance, measuredUnder: importance, search: .extremes)
        let searched = try error(
          codec, matrix, importance: importance, measuredUnder: importance, search: .standard)
        #expect(searched <= plain * (1 + 1e-5), "\(codec.canonicalName), seed \(seed)")
      }
    }
  }

  @Test(arguments: [2, 3, 4])
  func leastSquaresClipsWhereThatHelps(bits: Int) throws {
    let codec = try IntegerGroupCodec(bits: bits, groupSize: 64)
    let matrix = try TestMatrix.normal(16, 256, seed: 3)
    let plain = try error(codec, matrix, importance: nil, measuredUnder: nil, search: .extremes)
    let searched = try error(codec, matrix, importance: nil, measuredUnder: nil, search: .standard)
    #expect(searched < 0.95 * plain)
  }

  @Test func importanceChangesTheResultForTheBetter() throws {
    let seed: UInt64 = 9
    var generator = SeededGenerator(seed: seed)
    let matrix = try TestMatrix.normal(8, 128, seed: seed)
    let importance = (0..<128).map { _ in Float.random(in: 0..<1, using: &generator) < 0.1 ? Float(100) : 0.01
    }
    for isSymmetric in [true, false] {
      let codec = try IntegerGroupCodec(bits: 3, groupSize: 32, isSymmetric: isSymmetric)
      let blind = try error(codec, matrix, importance: nil, measuredUnder: importance, search: .standard)
      let seeing = try error(
        codec, matrix, importance: importance, measuredUnder: importance, search: .standard)
      #expect(seeing < 0.9 * blind, "seed \(seed)")
    }
  }

  @Test func equalImportanceIsNoImportance() throws {
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 32)
    let matrix = try TestMatrix.normal(4, 64, seed: 21)
    let without = try codec.encode(matrix, importance: nil, search: .standard).decoded()
    let equal = try codec.encode(matrix, importance: [Float](repeating: 4, count: 64), search: .standard)
    #expect(equal.decoded() == without)
  }

  @Test func searchesWithoutChoiceAreExtremes() throws {
    let codec = try IntegerGroupCodec(bits: 3, groupSize: 16)
    let matrix = try TestMatrix.normal(4, 64, seed: 22)
    let extremes = try codec.encode(matrix, importance: nil, search: .extremes).decoded()
    for steps in [-1, 0, 1] {
      let search = ScaleSearch.leastSquares(steps: steps, smallest: 0.5)
      #expect(try codec.encode(matrix, importance: nil, search: search).decoded() == extremes)
    }
    let nothing = [Float](repeating: 0, count: 64)
    #expect(try codec.encode(matrix, importance: nothing, search: .standard).decoded() == extremes)
  }

  @Test func roundingTiesGoToTheEvenCode() {
    let grid = Grid(scale: 2, zero: 8, maximumCode: 15)
    #expect(grid.code(1) == 8)
    #expect(grid.code(3) == 10)
    #expect(grid.code(-1) == 8)
    #expect(grid.code(-3) == 6)
    #expect(grid.code(1e30) == 15)
    #expect(grid.code(-.infinity) == 0)
    #expect(grid.code(.nan) == 0)
    #expect(grid.rounded(2.9) == 2)
    for value: Float in [0.5, 1.5, -0.5, -2.5, 3.49999, 4_194_303.5, 4_194_304, 1e20, -1e20, 0] {
      let expected = abs(value) < 4_194_304 ? value.rounded(.toNearestOrEven) : value
      #expect(roundToEven(value) == expected)
    }
  }
}
