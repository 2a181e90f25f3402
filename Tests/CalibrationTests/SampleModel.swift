import Calibration
import Codecs
import GraphIR
import OrderedCollections
import TensorCore
import TestSupport

/// A model of two decoder blocks with seeded weights, and what its layers see according to the interpreter.
struct SampleModel {
  static let vocabulary: Int32 = 30
  let graph: Graph
  var weights: [String: FloatMatrix]

  init(seed: UInt64) throws {
    graph = try Graph(parsing: Self.text)
    weights = [:]
    for (number, entry) in graph.constants.enumerated() {
      var generator = SeededGenerator(seed: seed &* 1000 &+ UInt64(number))
      let dimensions = entry.value.dimensions
      let shape = try Shape(dimensions)
      let values: [Float]
      switch dimensions.count {
      case 1 where entry.key == "frequencies": values = [1, 0.3, 0.1, 0.02]
      case 1: values = generator.normals(shape.elementCount).map { 1 + 0.1 * $0 }
      default:
        let scale = entry.key == "embed" ? 1 : 1.5 / Float(shape.columns).squareRoot()
        values = generator.normals(shape.elementCount).map { $0 * scale }
      }
      weights[entry.key] = try FloatMatrix(rows: shape.rows, columns: shape.columns, values: values)
    }
  }

  /// Weights of all projections in the blocks.
  var targets: Set<String> { Set(weights.keys.filter { $0.hasPrefix("l0.") || $0.hasPrefix("l1.") }) }

  /// The tensor of a constant.
  func tensor(_ name: String) throws -> Tensor {
    guard let matrix = weights[name], let type = graph.constants[name] else {
      throw GraphError.execution(name, reason: "no such constant")
    }
    return try Tensor(matrix.values, shape: Shape(type.dimensions))
  }

  /// Windows of different lengths.
  func windows(seed: UInt64, lengths: [Int] = [9, 12, 5]) -> CalibrationWindows {
    var generator = SeededGenerator(seed: seed)
    return CalibrationWindows(
      windows: lengths.map { length in
        (0..<length).map { _ in Int32.random(in: 0..<Self.vocabulary, using: &generator) }
      })
  }

  /// The interpreter's inputs of a group over all windows.
  func reference(_ group: LinearGroup, _ windows: CalibrationWindows) throws -> ReferenceStatistics {
    ReferenceStatistics(try inputs(group, windows), columns: group.columns)
  }

  /// The interpreter's inputs of a group, window by window.
  func inputs(_ group: LinearGroup, _ windows: CalibrationWindows) throws -> [[Float]] {
    let part = try graph.subgraph(inputs: [], outputs: [group.input])
    return try windows.windows.map { window in
      let shape = try Shape([window.count])
      let values = [
        "tokens": try Tensor(window, shape: shape),
        "positions": try Tensor((0..<window.count).map(Int32.init), shape: shape),
      ]
      return try Interpreter.run(part, inputs: values, constants: tensor)[0].floats()
    }
  }

  private static let text = """
    graph @sample (tokens: i32[T], positions: i32[T]) {
      constants {
        @embed: f32[30, 32]
        @frequencies: f32[4]
    \(constants(0))
    \(constants(1))
        @norm: f32[32]
        @head: f32[30, 32]
      }
      %h0 = embedding %tokens, @embed : f32[T, 32]
    \(block(0, input: "h0", output: "h1"))
    \(block(1, input: "h1", output: "h2"))
      %n = rms_norm %h2, @norm {eps = 1e-05} : f32[T, 32]
      %logits = linear %n, @head : f32[T, 30]
      return %logits

    """ + "}\n"

  private static func constants(_ layer: Int) -> String {
    let shapes = [
      "l\(layer).q: f32[32, 32]", "l\(layer).k: f32[16, 32]", "l\(layer).v: f32[16, 32]",
      "l\(layer).o: f32[32, 32]",
      "l\(layer).gate: f32[48, 32]", "l\(layer).up: f32[48, 32]", "l\(layer).down: f32[32, 48]",
      "norm\(layer)a: f32[32]", "norm\(layer)b: f32[32]",
    ]
    return shapes.map { "    @\($0)" }.joined(separator: "\n")
  }

  private static func block(_ l: Int, input: String, output: String) -> String {
    """
      layers.\(l) {
        %na\(l) = rms_norm %\(input), @norm\(l)a {eps = 1e-05} : f32[T, 32]
        %q\(l) = linear %na\(l), @l\(l).q : f32[T, 32]
        %k\(l) = linear %na\(l), @l\(l).k : f32[T, 16]
        %v\(l) = linear %na\(l), @l\(l).v : f32[T, 16]
        %qr\(l) = rope %q\(l), %positions, @frequencies {heads = 4, head_dim = 8} : f32[T, 32]
        %kr\(l) = rope %k\(l), %positions, @frequencies {heads = 2, head_dim = 8} : f32[T, 16]
        %a\(l) = attention %qr\(l), %kr\(l), %v\(l) {heads = 4, kv_heads = 2, head_dim = 8, scale = 0.35, cache = \(l)} : f32[T, 32]
        %o\(l) = linear %a\(l), @l\(l).o : f32[T, 32]
        %r\(l) = add %\(input), %o\(l) : f32[T, 32]
        %nb\(l) = rms_norm %r\(l), @norm\(l)b {eps = 1e-05} : f32[T, 32]
        %g\(l) = linear %nb\(l), @l\(l).gate : f32[T, 48]
        %u\(l) = linear %nb\(l), @l\(l).up : f32[T, 48]
        %s\(l) = silu %g\(l) : f32[T, 48]
        %m\(l) = multiply %s\(l), %u\(l) : f32[T, 48]
        %d\(l) = linear %m\(l), @l\(l).down : f32[T, 32]
        %\(output) = add %r\(l), %d\(l) : f32[T, 32]
      }
    """
  }
}
