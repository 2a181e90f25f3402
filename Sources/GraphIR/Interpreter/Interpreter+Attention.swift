import Glibc
import TensorCore

extension Interpreter {
  @Sendable
  static func rope(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let x = try call.matrix(0)
    let positions = try call.integers(1)
    let frequencies = try call.vector(2)
    let heads = try call.node.integer("heads")
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
    return [result.value]
  }

  @Sendable
  static func attention(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let (q, k, v) = (try call.matrix(0), try call.matrix(1), try call.matrix(2))
    let heads = try call.node.integer("heads")
    let group = heads / (try call.node.integer("kv_heads"))
    let width = try call.node.integer("head_dim")
    let scale = try call.node.float("scale")
    let cap = try call.node.float("softcap")
    let window = try call.node.integer("window")
    let causal = try call.node.bool("causal")
    var result = Matrix(rows: q.rows, columns: q.columns)
    for token in 0..<q.rows {
      let visible = (0..<q.rows).filter { other in
        (!causal || other <= token) && (window == 0 || token - other < window)
      }
      for head in 0..<heads {
        let queries = q.row(token).dropFirst(head * width).prefix(width)
        let offset = head / group * width
        let scores = visible.map { other in
          let keys = k.row(other).dropFirst(offset).prefix(width)
          let score = scale * zip(queries, keys).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
          return cap > 0 ? cap * tanh(score / cap) : score
        }
        let largest = scores.max() ?? 0
        let weights = scores.map { exp($0 - largest) }
        let total = weights.reduce(0, +)
        for column in 0..<width {
          let sum = zip(visible, weights).reduce(0.0) { $0 + $1.1 * Double(v[$1.0, offset + column]) }
          result[token, head * width + column] = Float(sum / total)
        }
      }
    }
    return [result.value]
  }
}
