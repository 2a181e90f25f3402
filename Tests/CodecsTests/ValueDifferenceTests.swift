import Codecs
import TestSupport
import Testing

@Suite struct ValueDifferenceTests {
  private func difference(_ first: [Float], _ second: [Float], _ kernels: BlockKernels) -> ValueDifference {
    unsafe first.withUnsafeBufferPointer { first in
      unsafe second.withUnsafeBufferPointer { second in
        unsafe ValueDifference(first, second, kernels: kernels)
      }
    }
  }

  @Test func isTheSameEverywhereAndThatOfPlainArithmetic() {
    var random = SeededGenerator(seed: 17)
    for count in [0, 1, 15, 16, 17, 1000, 4096] {
      let first = (0..<count).map { _ in Float.random(in: -3...3, using: &random) }
      let second = first.map { $0 + Float.random(in: -0.1...0.1, using: &random) }
      let results = BlockKernels.available.map { difference(first, second, $0) }
      #expect(results.allSatisfy { $0 == results[0] }, "\(count)")
      let differences = zip(first, second).map { abs($0 - $1) }
      #expect(results[0].maximum == differences.max() ?? 0)
      #expect(results[0].magnitude == first.map(abs).max() ?? 0)
      let squares = differences.reduce(0.0) { $0 + Double($1) * Double($1) }
      let energy = first.reduce(0.0) { $0 + Double($1) * Double($1) }
      #expect(abs(results[0].squares - squares) <= 1e-5 * squares, "\(count)")
      #expect(abs(results[0].energy - energy) <= 1e-5 * energy, "\(count)")
    }
  }

  /// What is not finite is equal to itself and to nothing else, wherever it lies.
  @Test(arguments: [Float.infinity, -.infinity, .nan]) func seesWhatIsNotFinite(value: Float) {
    for place in [0, 20, 32, 39] {
      var first = [Float](repeating: 1, count: 40)
      first[place] = value
      var second = first
      second[39 - place] += 0.25
      for kernels in BlockKernels.available {
        #expect(difference(first, second, kernels).maximum == 0.25)
        second[place] = 1
        let found = difference(first, second, kernels).maximum
        #expect(value.isNaN ? found.isNaN : found == .infinity)
        var total = difference(first, second, kernels)
        total.add(ValueDifference())
        #expect(total.maximum.isNaN == value.isNaN && total.maximum != 0.25)
        second[place] = value
      }
    }
  }
}
