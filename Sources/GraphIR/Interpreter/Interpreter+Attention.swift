import Glibc
import TensorCore

extension Interpreter {
  @Sendable
  static func rope(_ call: InterpreterCall) throws -> [RuntimeValue] {
    [try rotated(call, call.matrix(0), heads: call.node.integer("heads"), by: 1).value]
  }

  /// Heads turned by positions, an operand behind which the frequencies are.
  private static func rotated(
    _ call: InterpreterCall, _ x: Matrix, heads: Int, by position: Int
  ) throws -> Matrix {
    let positions = try call.integers(position)
    let frequencies = try rotaryFrequencies(call, position + 1, length: Int(positions.max() ?? 0) + 1)
    let width = try call.node.integer("head_dim")
    let interleaved = try call.node.bool("interleaved")
    let magnitude = try call.node.float("magnitude")
    var result = x
    for (token, position) in positions.enumerated() {
      for (pair, frequency) in frequencies.enumerated() {
        let angle = Double(Float(position) * frequency)
        let (cosine, sine) = (cos(angle) * magnitude, sin(angle) * magnitude)
        for head in 0..<heads {
          let first = head * width + (interleaved ? 2 * pair : pair)
          let second = interleaved ? first + 1 : first + frequencies.count
          let (a, b) = (Double(x[token, first]), Double(x[token, second]))
          result[token, first] = Float(a * cosine - b * sine)
          result[token, second] = Float(b * cosine + a * sine)
        }
      }
    }
    return result
  }

  /// The frequencies for a sequence of this length.
  private static func rotaryFrequencies(
    _ call: InterpreterCall, _ operand: Int, length: Int
  ) throws -> [Float] {
    let plain = try call.vector(operand)
    let context = try call.node.integer("context")
    guard context > 0, length > context else { return plain }
    let growth = try call.node.float("growth")
    guard growth > 0 else {
      return call.operands.count > operand + 1 ? try call.vector(operand + 1) : plain
    }
    return RotaryGrowth.frequencies(
      count: plain.count, theta: try call.node.float("theta"), growth: growth, context: context,
      length: length)
  }

  @Sendable
  static func attention(_ call: InterpreterCall) throws -> [RuntimeValue] {
    [try attended(call, call.matrix(0), call.matrix(1), slopes: 3).value]
  }

  @Sendable
  static func rotaryAttention(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let q = try rotated(call, call.matrix(0), heads: call.node.integer("heads"), by: 3)
    let k = try rotated(call, call.matrix(1), heads: call.node.integer("kv_heads"), by: 3)
    return [try attended(call, q, k, slopes: 6).value]
  }

  /// Attention whose slopes are the operand at a position, before the sinks.
  private static func attended(
    _ call: InterpreterCall, _ q: Matrix, _ k: Matrix, slopes position: Int
  ) throws -> Matrix {
    let slopes = call.operands.count > position ? try call.vector(position) : []
    let sinks = call.operands.count > position + 1 ? try call.vector(position + 1) : []
    let v = try call.matrix(2)
    let heads = try call.node.integer("heads")
    let group = heads / (try call.node.integer("kv_heads"))
    let width = try call.node.integer("head_dim")
    let scale = try call.node.float("scale")
    let cap = try call.node.float("softcap")
    let window = try call.node.integer("window")
    let causal = try call.node.bool("causal")
    let given = try call.node.integer("value_dim")
    let valueWidth = given == 0 ? width : given
    var result = Matrix(rows: q.rows, columns: heads * valueWidth)
    for token in 0..<q.rows {
      let visible = (0..<q.rows).filter { other in
        (!causal || other <= token) && (window == 0 || token - other < window)
      }
      for head in 0..<heads {
        let queries = q.row(token).dropFirst(head * width).prefix(width)
        let offset = head / group * width
        let values = head / group * valueWidth
        let scores = visible.map { other in
          let keys = k.row(other).dropFirst(offset).prefix(width)
          let score = scale * zip(queries, keys).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
          let capped = cap > 0 ? cap * tanh(score / cap) : score
          return slopes.isEmpty ? capped : capped + Double(slopes[head]) * Double(other - token)
        }
        let sink = sinks.isEmpty ? -Double.infinity : Double(sinks[head])
        let largest = max(scores.max() ?? 0, sink)
        let weights = scores.map { exp($0 - largest) }
        let total = weights.reduce(0, +) + exp(sink - largest)
        for column in 0..<valueWidth {
          let sum = zip(visible, weights).reduce(0.0) { $0 + $1.1 * Double(v[$1.0, values + column]) }
          result[token, head * valueWidth + column] = Float(sum / total)
        }
      }
    }
    return result
  }

  @Sendable
  static func joinHeads(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let (x, y) = (try call.matrix(0), try call.matrix(1))
    let heads = try call.node.integer("heads")
    let isShared = try call.node.bool("shared")
    let (first, second) = (isShared ? x.columns : x.columns / heads, y.columns / heads)
    var elements: [Float] = []
    for row in 0..<x.rows {
      for head in 0..<heads {
        elements += x.row(row).dropFirst(isShared ? 0 : head * first).prefix(first)
        elements += y.row(row).dropFirst(head * second).prefix(second)
      }
    }
    return [Matrix(rows: x.rows, columns: heads * (first + second), elements: elements).value]
  }
}
