import TensorCore

/// One node made ready to run forward and backward; attributes and constants are read already.
///
/// A step's vector-Jacobian product stands beside what it computes. Values are float32; sums over a row are accumulated in
/// float64 where they are few, and products of matrices in float32 by OpenBLAS on the calling thread, in an order that depends
/// on the shapes alone.
protocol DifferentiableStep: Sendable {
  /// Computes the results, and what the way back needs besides operands and results.
  func forward(_ operands: [FloatMatrix], _ run: RunContext) -> StepResult

  /// The gradients of the operands, given those of the results; nil for operands that `wanted` leaves out.
  func backward(_ call: BackwardCall, _ run: RunContext) -> [FloatMatrix?]
}

/// What a step computed.
struct StepResult {
  var results: [FloatMatrix]
  var saved: [FloatMatrix] = []

  init(_ results: FloatMatrix..., saved: [FloatMatrix] = []) {
    self.results = results
    self.saved = saved
  }
}

/// What the way back through a step starts from.
struct BackwardCall {
  let operands: [FloatMatrix]
  let results: [FloatMatrix]
  let saved: [FloatMatrix]
  /// Gradients of the results; a result that nothing depends on has zeros.
  let gradients: [FloatMatrix]
  /// Which operands' gradients are needed.
  let wanted: [Bool]
}

/// What all steps of a run share.
struct RunContext {
  let tokens: [Int32]
  let weights: [TrainableWeight]

  /// Positions of the tokens: whole sequences from 0.
  var length: Int { tokens.count }
}

extension FloatMatrix {
  /// Zeros of the same shape.
  var zeros: FloatMatrix { FloatMatrix(zeros: rows, columns) }

  /// The same shape with every element replaced.
  @inline(__always)
  func map(_ transform: (Float) -> Float) -> FloatMatrix {
    var result = self
    unsafe result.values.withUnsafeMutableBufferPointer { values in
      for index in 0..<values.count { unsafe values[index] = transform(values[index]) }
    }
    return result
  }

  /// The same shape with every element joined with that of another matrix of this shape.
  @inline(__always)
  func zip(_ other: FloatMatrix, _ transform: (Float, Float) -> Float) -> FloatMatrix {
    var result = self
    unsafe result.values.withUnsafeMutableBufferPointer { values in
      unsafe other.values.withUnsafeBufferPointer { others in
        for index in 0..<min(values.count, others.count) {
          unsafe values[index] = transform(values[index], others[index])
        }
      }
    }
    return result
  }

  /// Adds another matrix of this shape.
  mutating func add(_ other: FloatMatrix) {
    unsafe values.withUnsafeMutableBufferPointer { values in
      unsafe other.values.withUnsafeBufferPointer { others in
        for index in 0..<min(values.count, others.count) { unsafe values[index] += others[index] }
      }
    }
  }
}
