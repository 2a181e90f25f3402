import Differentiation
import GraphIR
import Kernels
import TensorCore
import TestSupport
import Testing

/// Compares the gradients of a graph's linear weights with differences of the loss `sum(r y)` for random `r`.
struct GradientCheck {
  let graph: Graph
  let program: DifferentiableGraph
  let tokens: [Int32]
  let floats: [String: FloatMatrix]
  private let factors: [FloatMatrix]

  /// - Parameter constant: values of a constant by name.
  init(
    graph: Graph, trained: Set<String>, tokens: [Int32], floats: [String: FloatMatrix] = [:], seed: UInt64,
    constant: (String) throws -> [Float]
  ) throws {
    self.graph = graph
    self.tokens = tokens
    self.floats = floats
    program = try DifferentiableGraph(graph: graph, trained: trained, constant: constant)
    var generator = SeededGenerator(seed: seed)
    factors = graph.outputs.map { output in
      var matrix = FloatMatrix(zeros: tokens.count, graph.type(of: output).columns ?? 0)
      matrix.values = generator.normals(matrix.values.count)
      return matrix
    }
  }

  func outputs() throws -> [FloatMatrix] {
    try program.run(tokens: tokens, floats: floats, keeping: false).outputs
  }

  private func loss() throws -> Double {
    zip(try outputs(), factors).reduce(0.0) { sum, pair in
      zip(pair.0.values, pair.1.values).reduce(sum) { $0 + Double($1.0) * Double($1.1) }
    }
  }

  /// Gradients of the trained weights, by name.
  func gradients() throws -> [String: [Float]] {
    let tape = try program.run(tokens: tokens, floats: floats)
    tape.backward(factors)
    var result: [String: [Float]] = [:]
    for (index, weight) in program.weights.enumerated() where program.trained.contains(weight.name) {
      var gradient = [Float](repeating: 0, count: weight.rows * weight.columns)
      let middle = weight.rows / 3
      unsafe gradient.withUnsafeMutableBufferPointer { target in
        guard let target = target.baseAddress else { return }
        unsafe tape.addWeightGradient(of: index, rows: 0..<middle, into: target)
        unsafe tape.addWeightGradient(
          of: index, rows: middle..<weight.rows, into: target + middle * weight.columns)
      }
      result[weight.name] = gradient
    }
    return result
  }

  /// The distance between slopes along random directions and what the gradients say, relative to the slopes' size.
  ///
  /// Differences are of fourth order: `(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h`.
  func deviation(step: Float, directions: Int = 6, seed: UInt64 = 1) throws -> Double {
    let gradients = try gradients()
    var generator = SeededGenerator(seed: seed)
    var (distance, size) = (0.0, 0.0)
    for (index, weight) in program.weights.enumerated() where program.trained.contains(weight.name) {
      let start = weight.matrix.values
      let scale = (start.reduce(0) { $0 + $1 * $1 } / Float(max(start.count, 1))).squareRoot()
      for _ in 0..<directions {
        let direction = generator.normals(start.count).map { $0 * scale }
        func moved(_ factor: Float) throws -> Double {
          program.weights[index].assign(zip(start, direction).map { $0 + factor * step * $1 })
          return try loss()
        }
        let near = try moved(1) - moved(-1)
        let slope = (8 * near - (try moved(2) - moved(-2))) / Double(12 * step)
        let expected = zip(gradients[weight.name] ?? [], direction).reduce(0.0) {
          $0 + Double($1.0) * Double($1.1)
        }
        distance += (slope - expected) * (slope - expected)
        size += slope * slope
      }
      program.weights[index].assign(start)
    }
    return (distance / size).squareRoot()
  }
}
