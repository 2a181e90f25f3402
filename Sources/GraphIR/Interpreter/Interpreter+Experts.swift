import Glibc
import TensorCore

extension Interpreter {
  @Sendable
  static func route(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let logits = try call.matrix(0)
    let bias = call.operands.count > 1 ? try call.vector(1) : []
    var result = Matrix(rows: logits.rows, columns: logits.columns)
    for row in 0..<logits.rows {
      let scores = scores(logits.row(row), isSigmoid: try call.node.string("scores") == "sigmoid")
      let values = bias.isEmpty ? scores : zip(scores, bias).map { $0 + Double($1) }
      let eligible = try eligibleExperts(values, call.node)
      let chosen = eligible.sorted { (values[$0], $1) > (values[$1], $0) }.prefix(
        try call.node.integer("chosen"))
      let total = try call.node.bool("normalized") ? chosen.reduce(0) { $0 + scores[$1] } : 1
      let factor = try call.node.float("factor")
      for expert in chosen where total > 0 {
        result[row, expert] = Float(scores[expert] / total * factor)
      }
    }
    return [result.value]
  }

  private static func scores(_ logits: ArraySlice<Float>, isSigmoid: Bool) -> [Double] {
    if isSigmoid { return logits.map { 1 / (1 + exp(-Double($0))) } }
    let largest = Double(logits.max() ?? 0)
    let weights = logits.map { exp(Double($0) - largest) }
    let total = weights.reduce(0, +)
    return weights.map { $0 / total }
  }

  /// The experts of the groups that are kept.
  private static func eligibleExperts(_ values: [Double], _ node: Node) throws -> [Int] {
    let groups = try node.integer("groups")
    guard groups > 1 else { return Array(values.indices) }
    let width = values.count / groups
    let top = try node.integer("group_top")
    let sums = (0..<groups).map { group in
      values[group * width..<(group + 1) * width].sorted(by: >).prefix(top).reduce(0, +)
    }
    let kept = sums.indices.sorted { (sums[$0], $1) > (sums[$1], $0) }.prefix(try node.integer("kept_groups"))
    return kept.sorted().flatMap { $0 * width..<($0 + 1) * width }
  }

  /// Experts of a token: those with a weight, at most `chosen`.
  private static func chosenExperts(_ routing: Matrix, _ row: Int, _ chosen: Int) -> [Int] {
    Array((0..<routing.columns).filter { routing[row, $0] != 0 }.prefix(chosen))
  }

  @Sendable
  static func expertLinear(_ call: InterpreterCall) throws -> [RuntimeValue] {
    [try expertProducts(call, weight: 2).value]
  }

  /// The products with the matrices that are the operand at a position.
  private static func expertProducts(_ call: InterpreterCall, weight: Int) throws -> Matrix {
    let (x, routing) = (try call.matrix(0), try call.matrix(1))
    let weights = try call.vector(weight)
    let chosen = try call.node.integer("chosen")
    let rows = try call.constants(weight).reduce(0) { $0 + $1.shape.rows }
    let inputs = weights.count / max(rows, 1)
    let outputs = rows / routing.columns
    var result = Matrix(rows: x.rows, columns: chosen * outputs)
    for token in 0..<x.rows {
      for (place, expert) in chosenExperts(routing, token, chosen).enumerated() {
        let start = x.columns == inputs ? 0 : place * inputs
        for output in 0..<outputs {
          var sum = 0.0
          for column in 0..<inputs {
            let weight = weights[(expert * outputs + output) * inputs + column]
            sum += Double(x[token, start + column]) * Double(weight)
          }
          result[token, place * outputs + output] = Float(sum)
        }
      }
    }
    return result
  }

  @Sendable
  static func expertBias(_ call: InterpreterCall) throws -> [RuntimeValue] {
    [try expertSums(call, call.matrix(0), bias: 2).value]
  }

  @Sendable
  static func expertGated(_ call: InterpreterCall) throws -> [RuntimeValue] {
    var (gate, up) = (try expertProducts(call, weight: 2), try expertProducts(call, weight: 3))
    if call.operands.count > 5 {
      gate = try expertSums(call, gate, bias: 4)
      up = try expertSums(call, up, bias: 5)
    }
    return [try gatedProduct(call, gate, up).value]
  }

  /// Sums with the biases that are the operand at a position.
  private static func expertSums(_ call: InterpreterCall, _ x: Matrix, bias: Int) throws -> Matrix {
    let routing = try call.matrix(1)
    let bias = try call.vector(bias)
    let chosen = try call.node.integer("chosen")
    let width = x.columns / chosen
    var result = x
    for token in 0..<x.rows {
      for (place, expert) in chosenExperts(routing, token, chosen).enumerated() {
        for column in 0..<width { result[token, place * width + column] += bias[expert * width + column] }
      }
    }
    return result
  }

  @Sendable
  static func expertSum(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let (x, routing) = (try call.matrix(0), try call.matrix(1))
    let chosen = try call.node.integer("chosen")
    let width = x.columns / chosen
    var result = Matrix(rows: x.rows, columns: width)
    for token in 0..<x.rows {
      let experts = chosenExperts(routing, token, chosen)
      for column in 0..<width {
        var sum = 0.0
        for (place, expert) in experts.enumerated() {
          sum += Double(routing[token, expert]) * Double(x[token, place * width + column])
        }
        result[token, column] = Float(sum)
      }
    }
    return [result.value]
  }
}
