import Glibc
import Kernels
import TensorCore

/// Sum of two matrices.
struct AddStep: DifferentiableStep {
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    StepResult(operands[0].zip(operands[1], +))
  }
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    [call.gradients[0], call.gradients[0]]
  }
}

/// Elementwise product of two matrices.
struct MultiplyStep: DifferentiableStep {
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    StepResult(operands[0].zip(operands[1], *))
  }
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let gradient = call.gradients[0]
    return [
      call.wanted[0] ? gradient.zip(call.operands[1], *) : nil,
      call.wanted[1] ? gradient.zip(call.operands[0], *) : nil,
    ]
  }
}

/// Product with one number.
struct ScaleStep: DifferentiableStep {
  let factor: Float

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let factor = factor
    return StepResult(operands[0].map { $0 * factor })
  }
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let factor = factor
    return [call.gradients[0].map { $0 * factor }]
  }
}

/// Products of blocks with a Hadamard matrix, which is symmetric: so is the way back.
struct HadamardStep: DifferentiableStep {
  let block: Int

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    StepResult(turned(operands[0]))
  }
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] { [turned(call.gradients[0])] }

  private func turned(_ x: FloatMatrix) -> FloatMatrix {
    var result = x
    let factor = 1 / Float(block).squareRoot()
    var half = 1
    while half < block {
      for index in result.values.indices where index & half == 0 {
        let (a, b) = (result.values[index], result.values[index + half])
        (result.values[index], result.values[index + half]) = (a + b, a - b)
      }
      half *= 2
    }
    return result.map { $0 * factor }
  }
}

/// Product of each row with a number of its own.
struct ScaleRowsStep: DifferentiableStep {
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    StepResult(scaled(operands[0], by: operands[1]))
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let (x, factor, gradient) = (call.operands[0], call.operands[1], call.gradients[0])
    var factorGradient = factor.zeros
    for row in 0..<x.rows {
      var sum = 0.0
      for column in 0..<x.columns { sum += Double(x[row, column]) * Double(gradient[row, column]) }
      factorGradient.values[row] = Float(sum)
    }
    return [scaled(gradient, by: factor), factorGradient]
  }

  private func scaled(_ x: FloatMatrix, by factor: FloatMatrix) -> FloatMatrix {
    var result = x
    for row in 0..<x.rows {
      for column in 0..<x.columns { result[row, column] *= factor.values[row] }
    }
    return result
  }
}

/// A function of one number, with its derivative; both in float64, rounded once.
struct FunctionStep: DifferentiableStep {
  let value: @Sendable (Double) -> Double
  let derivative: @Sendable (Double) -> Double

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    StepResult(operands[0].map { Float(value(Double($0))) })
  }
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    [call.gradients[0].zip(call.operands[0]) { Float(Double($0) * derivative(Double($1))) }]
  }
}

extension FunctionStep {
  static let relu = FunctionStep(value: { max($0, 0) }, derivative: { $0 > 0 ? 1 : 0 })

  static let sigmoid = FunctionStep(
    value: { 1 / (1 + exp(-$0)) },
    derivative: {
      let value = 1 / (1 + exp(-$0))
      return value * (1 - value)
    })

  static func softcap(_ cap: Double) -> FunctionStep {
    FunctionStep(
      value: { cap * tanh($0 / cap) },
      derivative: {
        let value = tanh($0 / cap)
        return 1 - value * value
      })
  }

  static func clamp(_ low: Double, _ high: Double) -> FunctionStep {
    FunctionStep(
      value: { min(max($0, low), high) }, derivative: { $0 >= low && $0 <= high ? 1 : 0 })
  }

  /// With the normal distribution.
  static let gelu = FunctionStep(
    value: { $0 / 2 * erfc(-$0 * 0.5.squareRoot()) },
    derivative: {
      erfc(-$0 * 0.5.squareRoot()) / 2 + $0 * exp(-$0 * $0 / 2) / (2 * Double.pi).squareRoot()
    })

  /// With a hyperbolic tangent.
  static let geluTanh = FunctionStep(
    value: { $0 / 2 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) },
    derivative: {
      let slope = (2 / Double.pi).squareRoot()
      let value = tanh(slope * ($0 + 0.044715 * $0 * $0 * $0))
      return (1 + value) / 2 + $0 / 2 * (1 - value * value) * slope * (1 + 3 * 0.044715 * $0 * $0)
    })

  /// With a logistic function.
  static let geluSigmoid = FunctionStep(
    value: { $0 / (1 + exp(-1.702 * $0)) },
    derivative: {
      let value = 1 / (1 + exp(-1.702 * $0))
      return value * (1 + 1.702 * $0 * (1 - value))
    })
}

/// `function(gate) * up`.
struct GatedFunctionStep: DifferentiableStep {
  let function: FunctionStep

  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let open = function.forward([operands[0]], run).results[0]
    return StepResult(open.zip(operands[1], *), saved: [open])
  }

  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let (gate, up, gradient) = (call.operands[0], call.operands[1], call.gradients[0])
    let slope = gate.map { Float(function.derivative(Double($0))) }
    return [
      call.wanted[0] ? gradient.zip(up, *).zip(slope, *) : nil,
      call.wanted[1] ? gradient.zip(call.saved[0], *) : nil,
    ]
  }
}

/// `silu(gate)`, or `silu(gate) * up`; logistic functions by the vector kernel.
struct SiluStep: DifferentiableStep {
  let isGated: Bool

  /// Saves the logistic function of the gate.
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult {
    let gate = operands[0]
    var logistic = gate
    let (rows, columns) = (gate.rows, gate.columns)
    unsafe logistic.values.withUnsafeMutableBufferPointer { values in
      guard let start = values.baseAddress else { return }
      let target = unsafe Rows(start, rows: rows, columns: columns)
      unsafe KernelTable.best.sigmoid(target, into: target, pool: SerialPool.pool)
    }
    var result = gate.zip(logistic, *)
    if isGated { result = result.zip(operands[1], *) }
    return StepResult(result, saved: [logistic])
  }

  /// `silu' = s (1 + x (1 - s))` with the logistic function `s`.
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?] {
    let (gate, logistic) = (call.operands[0], call.saved[0])
    let slope = gate.zip(logistic) { $1 * (1 + $0 * (1 - $1)) }
    guard isGated else { return [call.gradients[0].zip(slope, *)] }
    return [
      call.wanted[0] ? call.gradients[0].zip(call.operands[1], *).zip(slope, *) : nil,
      call.wanted[1] ? call.gradients[0].zip(gate.zip(logistic, *), *) : nil,
    ]
  }
}

/// A pool of the calling thread: steps run inside the tasks of another pool.
enum SerialPool {
  static let pool = ThreadPool(threadCount: 1, isPinned: false)
}
