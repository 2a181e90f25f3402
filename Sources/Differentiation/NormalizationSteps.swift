import TensorCore

/// Root-mean-square or mean-and-variance normalization of heads of each row: `y = gain * (x - center) * factor + shift`.
struct NormalizationStep: DifferentiableStep {
  /// What a row is measured by.
  let isCentered: Bool
  /// One number a column, or a column of a head.
  let gains: [Float]
  /// Empty for none.
  let shifts: [Float]
  let epsilon: Double
  let heads: Int

  /// Saves the factors, `[rows, heads]`, and for centered normalization the means.
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let x = operands[0]
    var y = x
    var factors = FloatMatrix(zeros: x.rows, heads)
    var centers = FloatMatrix(zeros: isCentered ? x.rows : 0, heads)
    let width = x.columns / heads
    for row in 0..<x.rows {
      for head in 0..<heads {
        let start = row * x.columns + head * width
        let (center, factor) = measure(x.values, start..<start + width)
        factors[row, head] = factor
        if isCentered { centers[row, head] = center }
        for index in 0..<width {
          let column = head * width + index
          let value = (x.values[start + index] - center) * factor * gains[column % gains.count]
          y.values[start + index] = shifts.isEmpty ? value : value + shifts[column % shifts.count]
        }
      }
    }
    return StepResult(y, saved: [factors, centers])
  }

  private func measure(_ values: [Float], _ range: Range<Int>) -> (center: Float, factor: Float) {
    var center = 0.0
    if isCentered {
      for index in range { center += Double(values[index]) }
      center /= Double(range.count)
    }
    var squares = 0.0
    for index in range {
      let difference = Double(values[index]) - center
      squares += difference * difference
    }
    return (Float(center), Float(1 / (squares / Double(range.count) + epsilon).squareRoot()))
  }

  /// With `h = (x - center) * factor` and `d = gain * dy`: `dx = factor * (d - h mean(d h))`, less its mean when centered.
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    [gradient(of: call.operands[0], call.gradients[0], factors: call.saved[0], centers: call.saved[1])]
  }

  func gradient(
    of x: FloatMatrix, _ gradient: FloatMatrix, factors: FloatMatrix, centers: FloatMatrix
  ) -> FloatMatrix {
    var result = gradient
    let width = x.columns / heads
    for row in 0..<x.rows {
      for head in 0..<heads {
        let start = row * x.columns + head * width
        let factor = factors[row, head]
        let center = isCentered ? centers[row, head] : 0
        var (sum, product) = (0.0, 0.0)
        for index in 0..<width {
          let scaled = gradient.values[start + index] * gains[(head * width + index) % gains.count]
          result.values[start + index] = scaled
          sum += Double(scaled)
          product += Double(scaled) * Double((x.values[start + index] - center) * factor)
        }
        let mean = isCentered ? Float(sum / Double(width)) : 0
        let projection = Float(product / Double(width))
        for index in 0..<width {
          let normal = (x.values[start + index] - center) * factor
          result.values[start + index] = factor * (result.values[start + index] - mean - normal * projection)
        }
      }
    }
    return result
  }
}

/// A sum and its root-mean-square normalization.
struct AddNormalizationStep: DifferentiableStep {
  let normalization: NormalizationStep

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let sum = operands[0].zip(operands[1], +)
    let normal = normalization.forward([sum], run)
    return StepResult(sum, normal.results[0], saved: normal.saved)
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    var gradient = normalization.gradient(
      of: call.results[0], call.gradients[1], factors: call.saved[0], centers: call.saved[1])
    gradient.add(call.gradients[0])
    return [gradient, gradient]
  }
}
