import Glibc
import TensorCore

extension Interpreter {
  typealias Semantics = @Sendable (InterpreterCall) throws -> [RuntimeValue]

  /// What each operation computes; one entry for each definition, which a test checks.
  static let semantics: [Operation: Semantics] = [
    .embedding: embedding,
    .linear: { call in [try linearProduct(call).value] },
    .slice: slice,
    .rmsNorm: { call in
      [try rmsNorm(call, call.matrix(0), weight: 1, heads: call.node.integer("heads")).value]
    },
    .layerNorm: { call in
      [try layerNorm(call, call.matrix(0), weight: 1, heads: call.node.integer("heads")).value]
    },
    .rope: rope,
    .attention: attention,
    .joinHeads: joinHeads,
    .add: { call in [try call.matrix(0).zip(call.matrix(1), +).value] },
    .multiply: { call in [try call.matrix(0).zip(call.matrix(1), *).value] },
    .scale: { call in
      let factor = Float(try call.node.float("factor"))
      return [try call.matrix(0).map { $0 * factor }.value]
    },
    .silu: { call in [try call.matrix(0).map(silu).value] },
    .gelu: { call in
      let functions = ["none": gelu, "tanh": geluTanh, "sigmoid": geluSigmoid]
      return [try call.matrix(0).map(functions[call.node.string("approximate")] ?? gelu).value]
    },
    .relu: { call in [try call.matrix(0).map(relu).value] },
    .sigmoid: { call in [try call.matrix(0).map(sigmoid).value] },
    .clamp: { call in
      let low = Float(try call.node.float("minimum"))
      let high = Float(try call.node.float("maximum"))
      return [try call.matrix(0).map { min(max($0, low), high) }.value]
    },
    .scaleRows: { call in
      let (x, factor) = (try call.matrix(0), try call.matrix(1))
      var result = x
      for row in 0..<x.rows {
        for column in 0..<x.columns { result[row, column] = x[row, column] * factor[row, 0] }
      }
      return [result.value]
    },
    .route: route,
    .expertLinear: expertLinear,
    .expertBias: expertBias,
    .expertSum: expertSum,
    .softcap: { call in
      let cap = try call.node.float("cap")
      return [try call.matrix(0).map { Float(cap * tanh(Double($0) / cap)) }.value]
    },
    .hadamard: { call in
      let (x, block) = (try call.matrix(0), try call.node.integer("block"))
      var result = x
      for row in 0..<x.rows {
        for column in 0..<x.columns {
          let start = column / block * block
          let sum = (0..<block).reduce(0.0) { sum, index in
            let isNegative = (index & (column - start)).nonzeroBitCount % 2 == 1
            return sum + Double(x[row, start + index]) * (isNegative ? -1 : 1)
          }
          result[row, column] = Float(sum / Double(block).squareRoot())
        }
      }
      return [result.value]
    },
    .swiglu: { call in [try call.matrix(0).zip(call.matrix(1)) { silu($0) * $1 }.value] },
    .geglu: { call in
      let functions = ["none": gelu, "tanh": geluTanh, "sigmoid": geluSigmoid]
      let function = functions[try call.node.string("approximate")] ?? gelu
      return [try call.matrix(0).zip(call.matrix(1)) { function($0) * $1 }.value]
    },
    .linearActivation: { call in
      let functions = [
        "silu": silu, "relu": relu, "sigmoid": sigmoid, "gelu": gelu, "gelu_tanh": geluTanh,
        "gelu_sigmoid": geluSigmoid,
      ]
      guard let function = functions[try call.node.string("activation")] else {
        throw call.error("there is no such activation")
      }
      return [try linearProduct(call).map(function).value]
    },
    .addRMSNorm: { call in
      let sum = try call.matrix(0).zip(call.matrix(1), +)
      return [sum.value, try rmsNorm(call, sum, weight: 2, heads: 1).value]
    },
    .addLayerNorm: { call in
      let sum = try call.matrix(0).zip(call.matrix(1), +)
      return [sum.value, try layerNorm(call, sum, weight: 2, heads: 1).value]
    },
    .limitedGLU: { call in
      let limit = try call.node.float("limit")
      return [try limitedGLU(call.matrix(0), call.matrix(1), limit: Float(limit)).value]
    },
    .linearGated: { call in
      let both = try linearProduct(call)
      let width = both.columns / 2
      let halves = [0, width].map { start in
        Matrix(
          rows: both.rows, columns: width,
          elements: (0..<both.rows).flatMap { both.row($0).dropFirst(start).prefix(width) })
      }
      return [try gatedProduct(call, halves[0], halves[1]).value]
    },
    .expertGated: expertGated,
    .rotaryAttention: rotaryAttention,
  ]

  /// Whether the operation can be computed.
  public static func computes(_ operation: Operation) -> Bool { semantics[operation] != nil }

  @Sendable
  private static func embedding(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let tokens = try call.integers(0)
    guard let table = try call.constants(1).first else { throw call.error("the table is missing") }
    let columns = table.shape.columns
    let offset = try call.node.integer("offset")
    var result = Matrix(rows: 0, columns: columns)
    for token in tokens {
      let row = Int(token) + offset
      guard token >= 0, row < table.shape.rows else {
        throw call.error("row \(row) is not in the table of \(table.shape.rows) rows")
      }
      result.elements += try table.floats(elements: row * columns..<(row + 1) * columns)
    }
    return [Matrix(rows: tokens.count, columns: columns, elements: result.elements).value]
  }

  private static func linearProduct(_ call: InterpreterCall) throws -> Matrix {
    let x = try call.matrix(0)
    let weights = try call.constants(1)
    let bias = call.operands.count > 2 ? try call.vector(2) : []
    var result = Matrix(rows: x.rows, columns: weights.reduce(0) { $0 + $1.shape.rows })
    var output = 0
    for tensor in weights {
      let weight = try tensor.floats()
      for row in 0..<tensor.shape.rows {
        for token in 0..<x.rows {
          var sum = 0.0
          for column in 0..<x.columns {
            sum += Double(x.elements[token * x.columns + column]) * Double(weight[row * x.columns + column])
          }
          if !bias.isEmpty { sum += Double(bias[output]) }
          result[token, output] = Float(sum)
        }
        output += 1
      }
    }
    return result
  }

  /// The product that a node's attributes say.
  static func gatedProduct(_ call: InterpreterCall, _ gate: Matrix, _ up: Matrix) throws -> Matrix {
    let functions = [
      "swiglu": silu, "geglu": gelu, "geglu_tanh": geluTanh, "geglu_sigmoid": geluSigmoid,
    ]
    guard let function = functions[try call.node.string("product")] else {
      return limitedGLU(gate, up, limit: Float(try call.node.float("limit")))
    }
    return gate.zip(up) { function($0) * $1 }
  }

  private static func limitedGLU(_ gate: Matrix, _ up: Matrix, limit: Float) -> Matrix {
    gate.zip(up) { gate, up in
      let open = geluSigmoid(min(max(gate, -Float.greatestFiniteMagnitude), limit))
      return open * min(max(up, -limit), limit) + open
    }
  }

  @Sendable
  private static func slice(_ call: InterpreterCall) throws -> [RuntimeValue] {
    let x = try call.matrix(0)
    let start = try call.node.integer("start")
    let length = try call.node.integer("length")
    let elements = (0..<x.rows).flatMap { x.row($0).dropFirst(start).prefix(length) }
    return [Matrix(rows: x.rows, columns: length, elements: elements).value]
  }

  private static func relu(_ x: Float) -> Float { x > 0 ? x : 0 }

  private static func sigmoid(_ x: Float) -> Float { Float(1 / (1 + exp(-Double(x)))) }

  private static func silu(_ x: Float) -> Float { Float(Double(x) / (1 + exp(-Double(x)))) }

  private static func gelu(_ x: Float) -> Float {
    Float(Double(x) / 2 * erfc(-Double(x) * 0.5.squareRoot()))
  }

  private static func geluTanh(_ x: Float) -> Float {
    let value = Double(x)
    let inner = (2 / Double.pi).squareRoot() * (value + 0.044715 * value * value * value)
    return Float(value / 2 * (1 + tanh(inner)))
  }

  private static func geluSigmoid(_ x: Float) -> Float {
    Float(Double(x) / (1 + exp(-1.702 * Double(x))))
  }
}
