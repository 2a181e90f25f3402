import Codecs
import Differentiation
import GraphIR
import Kernels
import TensorCore

/// Learns the scales and codes of all layers from the whole model: the loss is the KL divergence of its predictions from those of the
/// unquantized model, and a share of the errors of what each block passes on.
///
/// Source: Chen et al. 2024, "EfficientQAT" (arXiv 2407.11062), section 3.3, trains step sizes end to end after its blocks; here codes
/// move as well, and the target is the unquantized model's distribution instead of the text. What blocks pass on says much more of
/// each token than its prediction: less is learned of these windows alone (hidden states as targets: Jiao et al. 2020, "TinyBERT",
/// arXiv 1909.10351).
public struct ModelLearning {
  let method: LearnedRounding
  let pool: ThreadPool

  /// The name in reports.
  public static let block = "model"

  /// Prepares learning.
  public init(method: LearnedRounding, pool: ThreadPool) {
    self.method = method
    self.pool = pool
  }

  /// Learns the scales and codes.
  /// - Parameters:
  ///   - graph: tokens to logits.
  ///   - original: the unquantized weight of a name.
  ///   - matrices: the quantized weights to begin with.
  ///   - constant: values of a constant of the unquantized model.
  ///   - windows: tokens, as `division` has chosen them.
  ///   - own: windows that the unquantized model wrote, to be learned from as well.
  ///   - progress: called before each step.
  /// - Returns: the quantized weights by name, all of them, and how it went; the losses are mean divergences.
  /// - Throws: `DifferentiationError`, `CodecError`, ``QuantizationError``, or what the closures throw.
  public func learn(
    graph: Graph, original: (String) throws -> FloatMatrix, matrices: [String: EncodedMatrix],
    constant: (String) throws -> [Float], windows: [[Int32]], own: [[Int32]], division: LearningWindows,
    progress: (Int) throws -> Void = { _ in }
  ) throws -> (matrices: [String: EncodedMatrix], report: BlockReport) {
    var graph = graph
    if method.modelStateWeight > 0 { graph.outputs += graph.passedStates }
    let teacher = try DifferentiableGraph(graph: graph, trained: [], constant: constant)
    let descent = try RoundingDescent(
      graph: graph, original: original, matrices: matrices, constant: constant,
      reach: { _ in method.modelReach }, pool: pool)
    let learned = windows.prefix(division.learnedCount) + own
    let judges = division.judges.map { windows[$0] }
    let before = try divergence(descent.program, teacher, judges)
    let schedule = RoundingDescent.Schedule(
      iterations: method.modelIterations, batch: method.batch, scaleReach: method.modelScaleReach,
      seed: method.seed)
    try descent.run(schedule, windowCount: learned.count, progress: progress) { number in
      let targets = try teacher.run(tokens: learned[number], keeping: false).outputs
      let tape = try descent.program.run(tokens: learned[number])
      let outputs = tape.outputs
      let states = zip(outputs, targets).dropFirst().map {
        RelativeError.gradient($0, $1, factor: method.modelStateWeight)
      }
      tape.backward([Self.gradient(of: outputs[0], from: targets[0])] + states)
      return tape
    }
    let (found, changed) = try descent.finish()
    let after = try divergence(descent.program, teacher, judges)
    let isBetter = after < before
    let report = BlockReport(
      block: Self.block, lossBefore: before, lossAfter: isBetter ? after : before,
      iterations: method.modelIterations, keptStart: !isBetter, changedCodes: isBetter ? changed : 0,
      layers: descent.learners.map(\.weight.target.name))
    return (isBetter ? matrices.merging(found) { $1 } : matrices, report)
  }

  /// The gradient of `KL(p || q)` with respect to the logits of `q`: `q - p`.
  private static func gradient(of logits: FloatMatrix, from expected: FloatMatrix) -> FloatMatrix {
    var (found, expected) = (logits, expected)
    softmax(&expected)
    softmax(&found)
    for index in found.values.indices { found.values[index] -= expected.values[index] }
    return found
  }

  /// Mean of `KL(p || q)` over the tokens of the judges.
  private func divergence(
    _ program: DifferentiableGraph, _ teacher: DifferentiableGraph, _ judges: [[Int32]]
  ) throws -> Double {
    let sums = try pool.map(judges.count) { number in
      let tokens = judges[number]
      let expected = try teacher.run(tokens: tokens, keeping: false).outputs[0]
      let found = try program.run(tokens: tokens, keeping: false).outputs[0]
      return Self.divergence(expected, found)
    }
    return sums.reduce(0, +) / Double(max(judges.reduce(0) { $0 + $1.count }, 1))
  }

  /// Sum over rows of `sum(p (log p - log q))`.
  private static func divergence(_ expected: FloatMatrix, _ found: FloatMatrix) -> Double {
    var weights = expected
    softmax(&weights)
    var sum = 0.0
    let columns = expected.columns
    unsafe expected.values.withUnsafeBufferPointer { expected in
      unsafe found.values.withUnsafeBufferPointer { found in
        guard let p = expected.baseAddress, let q = found.baseAddress else { return }
        for row in 0..<weights.rows {
          let start = row * columns
          let normalizers = unsafe (
            KernelTable.best.logSumExp(p + start, count: columns),
            KernelTable.best.logSumExp(q + start, count: columns)
          )
          var cross = 0.0
          for index in start..<start + columns {
            cross += unsafe Double(weights.values[index]) * (Double(p[index]) - Double(q[index]))
          }
          sum += cross - normalizers.0 + normalizers.1
        }
      }
    }
    return sum
  }

  private static let serial = ThreadPool(threadCount: 1, isPinned: false)

  /// Replaces logits by probabilities, row by row.
  private static func softmax(_ logits: inout FloatMatrix) {
    let (rows, columns) = (logits.rows, logits.columns)
    unsafe logits.values.withUnsafeMutableBufferPointer { values in
      guard let start = values.baseAddress else { return }
      let target = unsafe Rows(start, rows: rows, columns: columns)
      unsafe KernelTable.best.softmax(target, into: target, pool: serial)
    }
  }
}

extension Graph {
  /// Float values that blocks pass on, each once, without the graph's outputs and what goes into the first block.
  package var passedStates: [ValueID] {
    let blocks = self.blocks
    var known = Set(outputs).union(inputs).union(blocks.first?.inputs ?? [])
    return (blocks.dropFirst().flatMap(\.inputs) + (blocks.last?.outputs ?? [])).filter {
      type(of: $0).element == .f32 && known.insert($0).inserted
    }
  }
}
