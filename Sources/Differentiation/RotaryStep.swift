import Glibc
import GraphIR
import TensorCore

/// Rotary position embedding of the heads of each row; the way back turns the other way.
struct RotaryStep: DifferentiableStep {
  let heads: Int
  let width: Int
  let isInterleaved: Bool
  let magnitude: Double
  let plainFrequencies: [Float]
  /// Empty for none.
  let longFrequencies: [Float]
  let context: Int
  let growth: Double
  let theta: Double

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    StepResult(turned(operands[0], direction: 1))
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    [turned(call.gradients[0], direction: -1)] + call.operands.dropFirst().map { _ in nil }
  }

  private func frequencies(length: Int) -> [Float] {
    guard context > 0, length > context else { return plainFrequencies }
    if !longFrequencies.isEmpty { return longFrequencies }
    guard growth > 0 else { return plainFrequencies }
    return RotaryGrowth.frequencies(
      count: plainFrequencies.count, theta: theta, growth: growth, context: context, length: length)
  }

  /// `(a, b)` becomes `(a cos - b sin, b cos + a sin)`, or with the opposite angle, which is the transposed map.
  private func turned(_ x: FloatMatrix, direction: Double) -> FloatMatrix {
    let frequencies = frequencies(length: x.rows)
    var result = x
    for row in 0..<x.rows {
      for (pair, frequency) in frequencies.enumerated() {
        let angle = Double(Float(row) * frequency)
        let (cosine, sine) = (Float(cos(angle) * magnitude), Float(sin(angle) * magnitude * direction))
        for head in 0..<heads {
          let start = row * x.columns + head * width
          let first = start + (isInterleaved ? 2 * pair : pair)
          let second = isInterleaved ? first + 1 : first + frequencies.count
          let (a, b) = (x.values[first], x.values[second])
          result.values[first] = a * cosine - b * sine
          result.values[second] = b * cosine + a * sine
        }
      }
    }
    return result
  }
}
