import Kernels
import TensorCore

/// `y = x Wᵀ + b`, the rows of several weights one below the other.
struct LinearStep: DifferentiableStep {
  /// A weight and the columns of the result that it makes.
  struct Part: Sendable {
    let weight: Int
    let firstColumn: Int
  }

  let parts: [Part]
  let columns: Int
  let bias: [Float]

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let x = operands[0]
    var y = FloatMatrix(zeros: x.rows, columns)
    unsafe y.values.withUnsafeMutableBufferPointer { target in
      guard let target = target.baseAddress else { return }
      if !bias.isEmpty {
        for row in 0..<x.rows {
          for column in 0..<columns { unsafe target[row &* columns &+ column] = bias[column] }
        }
      }
      for part in parts {
        let weight = run.weights[part.weight]
        unsafe BLAS.multiply(
          x.values, lda: x.columns, weight.pointer, ldb: weight.columns, transposingB: true, m: x.rows,
          n: weight.rows, k: weight.columns, beta: bias.isEmpty ? 0 : 1, into: target + part.firstColumn,
          ldc: columns)
      }
    }
    return StepResult(y)
  }

  /// `dx = dy W`; the gradient of the weight is taken from the tape.
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let gradient = call.gradients[0]
    var result = call.operands[0].zeros
    let width = result.columns
    unsafe gradient.values.withUnsafeBufferPointer { gradients in
      guard let gradients = gradients.baseAddress else { return }
      for (number, part) in parts.enumerated() {
        let weight = run.weights[part.weight]
        unsafe BLAS.multiply(
          gradients + part.firstColumn, lda: columns, weight.pointer, ldb: width, m: gradient.rows, n: width,
          k: weight.rows, beta: number == 0 ? 0 : 1, into: &result.values, ldc: width)
      }
    }
    return [result]
  }
}

/// Rows of a table, chosen by tokens or positions.
struct EmbeddingStep: DifferentiableStep {
  let table: [Float]
  let columns: Int
  let offset: Int
  let readsPositions: Bool

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    var result = FloatMatrix(zeros: run.length, columns)
    for row in 0..<run.length {
      let start = ((readsPositions ? row : Int(run.tokens[row])) + offset) * columns
      for column in 0..<columns { result.values[row * columns + column] = table[start + column] }
    }
    return StepResult(result)
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] { [nil] }
}

/// A range of columns.
struct SliceStep: DifferentiableStep {
  let start: Int
  let length: Int

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let x = operands[0]
    var result = FloatMatrix(zeros: x.rows, length)
    for row in 0..<x.rows {
      for column in 0..<length { result[row, column] = x[row, start + column] }
    }
    return StepResult(result)
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let gradient = call.gradients[0]
    var result = call.operands[0].zeros
    for row in 0..<gradient.rows {
      for column in 0..<length { result[row, start + column] = gradient[row, column] }
    }
    return [result]
  }
}

/// Heads made of a part of `x`, or all of it, and a part of `y`.
struct JoinHeadsStep: DifferentiableStep {
  let heads: Int
  /// Whether every head begins with all columns of `x`.
  let isShared: Bool

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let (x, y) = (operands[0], operands[1])
    let (first, second) = (isShared ? x.columns : x.columns / heads, y.columns / heads)
    var result = FloatMatrix(zeros: x.rows, heads * (first + second))
    for row in 0..<x.rows {
      for head in 0..<heads {
        let start = head * (first + second)
        for index in 0..<first { result[row, start + index] = x[row, (isShared ? 0 : head * first) + index] }
        for index in 0..<second { result[row, start + first + index] = y[row, head * second + index] }
      }
    }
    return StepResult(result)
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let gradient = call.gradients[0]
    var (x, y) = (call.operands[0].zeros, call.operands[1].zeros)
    let (first, second) = (isShared ? x.columns : x.columns / heads, y.columns / heads)
    for row in 0..<x.rows {
      for head in 0..<heads {
        let start = head * (first + second)
        for index in 0..<first {
          x[row, (isShared ? 0 : head * first) + index] += gradient[row, start + index]
        }
        for index in 0..<second { y[row, head * second + index] += gradient[row, start + first + index] }
      }
    }
    return [x, y]
  }
}
