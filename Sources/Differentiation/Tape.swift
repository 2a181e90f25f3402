import GraphIR
import Kernels
import TensorCore

/// One run of a ``DifferentiableGraph`` over one sequence: what was computed on the way, and the way back.
public final class Tape {
  private let program: DifferentiableGraph
  private let run: RunContext
  private var values: [ValueID: FloatMatrix] = [:]
  private var saved: [[FloatMatrix]]
  /// Operand and gradient of the result of each linear layer that a gradient is wanted for.
  private var pairs: [Int: (input: FloatMatrix, gradient: FloatMatrix)] = [:]

  init(_ program: DifferentiableGraph, tokens: [Int32]) {
    self.program = program
    run = RunContext(tokens: tokens, weights: program.weights)
    saved = Array(repeating: [], count: program.steps.count)
  }

  /// The outputs of the graph, in order.
  public var outputs: [FloatMatrix] { program.graph.outputs.compactMap { values[$0] } }

  func forward(_ floats: [String: FloatMatrix], keeping: Bool) throws(DifferentiationError) {
    let graph = program.graph
    for input in graph.inputs where graph.type(of: input).element == .f32 {
      let name = graph.name(of: input)
      guard let matrix = floats[name], matrix.rows == run.length,
        matrix.columns == graph.type(of: input).columns
      else {
        throw .mismatch(
          name, expected: "\(run.length) rows of \(graph.type(of: input))",
          found: floats[name].map { "\($0.rows) x \($0.columns)" } ?? "nothing")
      }
      values[input] = matrix
    }
    let dying = keeping ? [] : graph.valuesDyingAtNodes
    let outputs = Set(graph.outputs)
    for (index, node) in graph.nodes.enumerated() {
      let result = program.steps[index].forward(operands(of: node), run)
      for (value, matrix) in Swift.zip(node.results, result.results) { values[value] = matrix }
      if keeping { saved[index] = result.saved }
      guard !keeping else { continue }
      for value in dying[index] where !outputs.contains(value) { values[value] = nil }
    }
  }

  /// Float operands; integers are in the context, and constants in the steps.
  private func operands(of node: Node) -> [FloatMatrix] {
    node.operands.map { $0.value.flatMap { values[$0] } ?? FloatMatrix(zeros: 0, 0) }
  }

  /// Goes back from the gradients of the outputs, in their order; what is not needed for ``addWeightGradient(of:rows:into:)`` is
  /// freed on the way. Once for each run.
  public func backward(_ outputGradients: [FloatMatrix]) {
    let graph = program.graph
    var gradients: [ValueID: FloatMatrix] = [:]
    func add(_ gradient: FloatMatrix, to value: ValueID) {
      if gradients[value] == nil { gradients[value] = gradient } else { gradients[value]?.add(gradient) }
    }
    for (output, gradient) in Swift.zip(graph.outputs, outputGradients) { add(gradient, to: output) }
    for index in graph.nodes.indices.reversed() {
      let node = graph.nodes[index]
      defer {
        saved[index] = []
        for result in node.results { values[result] = nil }
      }
      guard node.results.contains(where: { gradients[$0] != nil }) else { continue }
      let results = node.results.compactMap { values[$0] }
      let call = BackwardCall(
        operands: operands(of: node), results: results, saved: saved[index],
        gradients: Swift.zip(node.results, results).map { value, matrix in
          gradients.removeValue(forKey: value) ?? matrix.zeros
        }, wanted: program.wanted[index])
      if let linear = program.steps[index] as? LinearStep, isTrained(linear) {
        pairs[index] = (call.operands[0], call.gradients[0])
      }
      guard call.wanted.contains(true) else { continue }
      let found = program.steps[index].backward(call, run)
      for (operand, gradient) in Swift.zip(node.operands, found) {
        if let value = operand.value, let gradient { add(gradient, to: value) }
      }
    }
    values = [:]
  }

  private func isTrained(_ linear: LinearStep) -> Bool {
    linear.parts.contains { program.trained.contains(program.weights[$0.weight].name) }
  }

  /// Adds the gradient of some rows of a weight to `target`, `[rows, in]` row-major.
  /// - Parameter weight: its place in the program's weights.
  @unsafe
  public func addWeightGradient(of weight: Int, rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    for use in program.uses[weight] {
      guard let pair = pairs[use.node] else { continue }
      let (input, gradient) = (pair.input, pair.gradient)
      unsafe input.values.withUnsafeBufferPointer { inputs in
        unsafe gradient.values.withUnsafeBufferPointer { gradients in
          guard let inputs = inputs.baseAddress, let gradients = gradients.baseAddress else { return }
          unsafe BLAS.multiply(
            gradients + use.firstColumn + rows.lowerBound, lda: gradient.columns, transposingA: true, inputs,
            ldb: input.columns, m: rows.count, n: input.columns, k: input.rows, beta: 1, into: target,
            ldc: input.columns)
        }
      }
    }
  }
}
