import TensorCore

extension Interpreter {
  /// The normalization of `x` by the constant operand number `weight`.
  static func rmsNorm(_ call: InterpreterCall, _ x: Matrix, weight: Int, heads: Int) throws -> Matrix {
    let epsilon = try call.node.float("eps")
    return normalized(x, heads: heads, gains: try gains(call, weight), shifts: []) { head in
      let squares = head.reduce(0.0) { $0 + Double($1) * Double($1) }
      return (0, 1 / (squares / Double(head.count) + epsilon).squareRoot())
    }
  }

  /// The same with mean and variance; the operand after `weight` holds the shifts, if there are any.
  static func layerNorm(_ call: InterpreterCall, _ x: Matrix, weight: Int, heads: Int) throws -> Matrix {
    let epsilon = try call.node.float("eps")
    let shifts = call.operands.count > weight + 1 ? try call.vector(weight + 1) : []
    return normalized(x, heads: heads, gains: try gains(call, weight), shifts: shifts) { head in
      let mean = head.reduce(0.0) { $0 + Double($1) } / Double(head.count)
      let squares = head.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
      return (mean, 1 / (squares / Double(head.count) + epsilon).squareRoot())
    }
  }

  private static func gains(_ call: InterpreterCall, _ weight: Int) throws -> [Float] {
    let offset = Float(try call.node.float("offset"))
    return try call.vector(weight).map { offset + $0 }
  }

  /// gain * (x - center) * factor + shift, with a center and a factor for each head of each row.
  private static func normalized(
    _ x: Matrix, heads: Int, gains: [Float], shifts: [Float],
    _ measure: (ArraySlice<Float>) -> (center: Double, factor: Double)
  ) -> Matrix {
    let width = x.columns / heads
    var result = x
    for row in 0..<x.rows {
      for head in 0..<heads {
        let (center, factor) = measure(x.row(row).dropFirst(head * width).prefix(width))
        for column in head * width..<(head + 1) * width {
          let gain = Double(gains[column % gains.count])
          let shift = shifts.isEmpty ? 0 : Double(shifts[column % shifts.count])
          result[row, column] = Float((Double(x[row, column]) - center) * factor * gain + shift)
        }
      }
    }
    return result
  }
}
