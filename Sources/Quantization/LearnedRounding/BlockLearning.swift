import Codecs
import Differentiation
import GraphIR
import Kernels
import TensorCore

/// Learns the rounding of the layers of one block from the outputs of the unquantized one.
public struct BlockLearning {
  /// One window: what goes into the block, and what should come out.
  public struct Example: Sendable {
    let tokens: [Int32]
    let inputs: [String: FloatMatrix]
    let targets: [FloatMatrix]

    /// - Parameters:
    ///   - inputs: the float inputs of the block by name.
    ///   - targets: the outputs of the unquantized block, in the graph's order.
    public init(tokens: [Int32], inputs: [String: FloatMatrix], targets: [FloatMatrix]) {
      self.tokens = tokens
      self.inputs = inputs
      self.targets = targets
    }
  }

  let method: LearnedRounding
  let pool: ThreadPool

  /// Prepares learning.
  public init(method: LearnedRounding, pool: ThreadPool) {
    self.method = method
    self.pool = pool
  }

  /// Learns one block.
  /// - Parameters:
  ///   - block: its scope.
  ///   - graph: the block alone.
  ///   - original: the unquantized weight of a name, for those that are quantized.
  ///   - matrices: the quantized weights to begin with.
  ///   - constant: values of the other constants.
  ///   - examples: windows, as `division` has chosen them.
  ///   - progress: called before each step.
  /// - Returns: the quantized weights by name, all of them, and how it went.
  /// - Throws: `DifferentiationError`, `CodecError`, ``QuantizationError``, or what the closures throw.
  public func learn(
    block: String, graph: Graph, original: (String) throws -> FloatMatrix, matrices: [String: EncodedMatrix],
    constant: (String) throws -> [Float], examples: [Example], division: LearningWindows,
    progress: (Int) throws -> Void = { _ in }
  ) throws -> (matrices: [String: EncodedMatrix], report: BlockReport) {
    let descent = try RoundingDescent(
      graph: graph, original: original, matrices: matrices, constant: constant, reach: method.blockReach,
      pool: pool)
    guard !descent.learners.isEmpty else {
      throw QuantizationError.unsupportedCodec(
        method: LearnedRounding.name, codec: matrices.values.first?.codec.canonicalName ?? "none",
        reason: "no layer of \(block) has values that are evenly spaced in groups of columns")
    }
    let judges = division.judges.map { examples[$0] }
    let before = try loss(descent.program, judges)
    let schedule = RoundingDescent.Schedule(
      iterations: method.iterations, batch: method.batch, scaleReach: method.scaleReach, seed: method.seed)
    try descent.run(schedule, windowCount: division.learnedCount, progress: progress) { number in
      let example = examples[number]
      let tape = try descent.program.run(tokens: example.tokens, floats: example.inputs)
      tape.backward(zip(tape.outputs, example.targets).map { RelativeError.gradient($0, $1) })
      return tape
    }
    let (found, changed) = try descent.finish()
    let after = try loss(descent.program, judges)
    let isBetter = after < before
    let report = BlockReport(
      block: block, lossBefore: before, lossAfter: isBetter ? after : before, iterations: method.iterations,
      keptStart: !isBetter, changedCodes: isBetter ? changed : 0,
      layers: descent.learners.map(\.weight.target.name))
    return (isBetter ? matrices.merging(found) { $1 } : matrices, report)
  }

  /// Mean over tokens of the squared error of the outputs, relative to what they should be.
  private func loss(_ program: DifferentiableGraph, _ judges: [Example]) throws -> Double {
    let sums = try pool.map(judges.count) { number in
      let example = judges[number]
      let tape = try program.run(tokens: example.tokens, floats: example.inputs, keeping: false)
      return zip(tape.outputs, example.targets).reduce(0.0) { $0 + RelativeError.sum($1.0, $1.1) }
    }
    return sums.reduce(0, +) / Double(max(judges.reduce(0) { $0 + $1.tokens.count }, 1))
  }
}
