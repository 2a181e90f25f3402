import Calibration
import Codecs
import Differentiation
import GraphIR
import Kernels
import OrderedCollections
import Quantization
import TensorCore

/// Learns the rounding of a quantized model block by block: a value in, a value out.
///
/// Two streams run through the model, one window a task: the unquantized one gives each block's target, the quantized one gives what
/// the block sees behind the blocks learned before it.
struct LearnedRoundingStage {
  let graph: Graph
  let method: LearnedRounding
  /// Those that ``division`` has chosen.
  let windows: [[Int32]]
  let division: LearningWindows
  /// Windows that the unquantized model wrote, for the steps of the whole model alone.
  let own: [[Int32]]
  let pool: ThreadPool

  /// A block with what lies between it and the next, as a graph of its own.
  private struct Section {
    let scope: String
    let graph: Graph
    let inputs: [ValueID]
    let outputs: [ValueID]
  }

  /// Values that cross between sections, for one window.
  private typealias Crossing = [ValueID: FloatMatrix]

  /// Learns all blocks that hold weights of `matrices`.
  /// - Parameters:
  ///   - original: the unquantized weight of a name.
  ///   - matrices: the quantized weights.
  ///   - known: what an earlier run found for a block.
  ///   - finished: called when a block is learned.
  /// - Returns: a report a block.
  /// - Throws: `DifferentiationError`, `QuantizationError`, `CodecError`, or what the closures throw.
  func run(
    original: (String) throws -> Weight, matrices: inout [String: EncodedMatrix],
    known: (String) -> LearnedBlock?, progress: (String, Double) throws -> Void,
    finished: (LearnedBlock) throws -> Void
  ) throws -> [BlockReport] {
    let sections = try sections(holding: Set(matrices.keys))
    guard let first = sections.first else { return [] }
    // The whole model's steps cost about as much as two blocks' of their number, times the blocks.
    let blockShare =
      Double(method.iterations)
      / Double(method.iterations + method.modelIterations * (method.modelIterations > 0 ? 2 : 0))
    func plain(_ name: String) throws -> [Float] { try original(name).decoded().values }
    try progress(first.scope, 0)
    var floats = try advance(
      windows.map { _ in [:] }, through: graph.subgraph(inputs: [], outputs: first.inputs), first.inputs,
      plain)
    var quantized = floats
    var reports: [BlockReport] = []
    for (number, section) in sections.enumerated() {
      let own = Set(section.graph.linearNodes.flatMap(\.weights))
      let mine = matrices.filter { own.contains($0.key) }
      let targets = try advance(floats, through: section.graph, section.outputs, plain)
      if !mine.isEmpty {
        let block =
          try known(section.scope)
          ?? learn(section, mine, original, method.usesQuantizedInputs ? quantized : floats, targets) {
            step in
            let share = Double(step) / Double(method.iterations)
            try progress(section.scope, blockShare * (Double(number) + share) / Double(sections.count))
          }
        matrices.merge(block.matrices) { $1 }
        reports.append(block.report)
        if known(section.scope) == nil { try finished(block) }
      }
      let current = matrices
      quantized = try advance(quantized, through: section.graph, section.outputs) { name in
        try current[name]?.decoded().values ?? plain(name)
      }
      floats = targets
    }
    guard method.modelIterations > 0 else { return reports }
    let model =
      try known(ModelLearning.block)
      ?? learnModel(matrices, original) { step in
        let share = Double(step) / Double(method.modelIterations)
        try progress(ModelLearning.block, blockShare + (1 - blockShare) * share)
      }
    matrices.merge(model.matrices) { $1 }
    if known(ModelLearning.block) == nil { try finished(model) }
    return reports + [model.report]
  }

  private func learnModel(
    _ matrices: [String: EncodedMatrix], _ original: (String) throws -> Weight,
    _ progress: (Int) throws -> Void
  ) throws -> LearnedBlock {
    let (learned, report) = try ModelLearning(method: method, pool: pool).learn(
      graph: graph, original: { try original($0).decoded() }, matrices: matrices,
      constant: { try original($0).decoded().values }, windows: windows, own: own,
      division: division, progress: progress)
    return LearnedBlock(matrices: learned, report: report)
  }

  /// The blocks from the first to the last, each up to the next one's beginning.
  private func sections(holding names: Set<String>) throws -> [Section] {
    let blocks = graph.blocks
    let last = blocks.lastIndex { block in
      graph.nodes[block.nodes].contains { !names.isDisjoint(with: $0.constantOperands) }
    }
    guard let last else { return [] }
    return try blocks[...last].indices.map { number in
      let block = blocks[number]
      let outputs = number + 1 < blocks.count ? blocks[number + 1].inputs : block.outputs
      let made = outputs.filter { !block.inputs.contains($0) }
      return Section(
        scope: block.scope, graph: try graph.subgraph(inputs: block.inputs, outputs: made),
        inputs: block.inputs, outputs: outputs)
    }
  }

  /// Runs a part of the model over all windows; values that it does not make are carried on.
  private func advance(
    _ crossings: [Crossing], through part: Graph, _ outputs: [ValueID], _ constant: (String) throws -> [Float]
  ) throws -> [Crossing] {
    let program = try DifferentiableGraph(graph: part, trained: [], constant: constant)
    return try pool.map(windows.count) { number in
      let before = crossings[number]
      let tape = try program.run(tokens: windows[number], floats: inputs(of: part, before), keeping: false)
      var after: Crossing = [:]
      for (value, matrix) in zip(part.outputs, tape.outputs) { after[value] = matrix }
      for value in outputs where after[value] == nil { after[value] = before[value] }
      return after
    }
  }

  private func inputs(of part: Graph, _ crossing: Crossing) -> [String: FloatMatrix] {
    var result: [String: FloatMatrix] = [:]
    for value in part.inputs { result[part.name(of: value)] = crossing[value] }
    return result
  }

  private func learn(
    _ section: Section, _ matrices: [String: EncodedMatrix], _ original: (String) throws -> Weight,
    _ inputs: [Crossing], _ targets: [Crossing], _ progress: (Int) throws -> Void
  ) throws -> LearnedBlock {
    let examples = windows.indices.map { number in
      BlockLearning.Example(
        tokens: windows[number], inputs: self.inputs(of: section.graph, inputs[number]),
        targets: section.graph.outputs.compactMap { targets[number][$0] })
    }
    let (learned, report) = try BlockLearning(method: method, pool: pool).learn(
      block: section.scope, graph: section.graph, original: { try original($0).decoded() },
      matrices: matrices,
      constant: { try original($0).decoded().values }, examples: examples, division: division,
      progress: progress)
    return LearnedBlock(matrices: learned, report: report)
  }
}

/// What was learned for a block.
public struct LearnedBlock: Sendable {
  /// Its weights, by name.
  public let matrices: [String: EncodedMatrix]
  /// How it went.
  public let report: BlockReport
}
