import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct RelativeErrorTests {
  private func random(_ rows: Int, _ columns: Int, _ generator: inout SplitMix64) throws -> FloatMatrix {
    try FloatMatrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in Float.random(in: -2...2, using: &generator) })
  }

  @Test(arguments: [(1, 1), (3, 7), (5, 64)])
  func everyRowCountsRelativeToItsTarget(rows: Int, columns: Int) throws {
    var generator = SplitMix64(seed: 31)
    let (output, target) = (
      try random(rows, columns, &generator), try random(rows, columns, &generator)
    )
    var plain = 0.0
    for row in 0..<rows {
      var (error, size) = (0.0, 0.0)
      for column in 0..<columns {
        let (y, t) = (
          Double(output.values[row * columns + column]), Double(target.values[row * columns + column])
        )
        error += (y - t) * (y - t)
        size += t * t
      }
      plain += error / size
    }
    let sum = RelativeError.sum(output, target)
    #expect(abs(sum - plain) <= 1e-9 * plain)
    // A thousand times larger in both, a row counts no more.
    var (larger, wanted) = (output, target)
    for index in 0..<columns {
      larger.values[index] *= 1_000
      wanted.values[index] *= 1_000
    }
    #expect(abs(RelativeError.sum(larger, wanted) - sum) <= 1e-5 * sum)
    #expect(RelativeError.sum(target, target) == 0)
  }

  @Test func theGradientIsThatOfTheSum() throws {
    var generator = SplitMix64(seed: 32)
    let (output, target) = (try random(4, 9, &generator), try random(4, 9, &generator))
    let gradient = RelativeError.gradient(output, target, factor: 3)
    for index in output.values.indices {
      let step: Float = 1e-2
      var (above, below) = (output, output)
      above.values[index] += step
      below.values[index] -= step
      let width = Double(above.values[index]) - Double(below.values[index])
      let slope = 3 * (RelativeError.sum(above, target) - RelativeError.sum(below, target)) / width
      #expect(abs(slope - Double(gradient.values[index])) <= 1e-3 * (1 + abs(slope)), "value \(index)")
    }
  }

  @Test func rowsThatShouldBeZeroCountNothing() throws {
    let output = try FloatMatrix(rows: 2, columns: 2, values: [1, 2, 3, 4])
    let target = try FloatMatrix(rows: 2, columns: 2, values: [0, 0, 3, 5])
    #expect(abs(RelativeError.sum(output, target) - 1 / 34) < 1e-9)
    let gradient = RelativeError.gradient(output, target)
    #expect(gradient.values[..<3].allSatisfy { $0 == 0 } && gradient.values[3] < 0)
  }
}
