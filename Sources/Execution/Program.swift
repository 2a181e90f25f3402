import Codecs
import GraphIR
import Kernels

/// A graph made ready to run: kernels chosen, weights in panels, memory planned. Immutable; sessions run it.
public final class Program: Sendable {
  /// One input of the graph.
  public struct Input: Sendable {
    /// Its name.
    public let name: String
    /// Columns of float inputs; nil for integers.
    public let columns: Int?
  }

  /// What a key and value cache holds.
  struct CacheShape {
    let heads: Int
    let headDimension: Int
    let valueDimension: Int
    let window: Int
  }

  /// The graph that was compiled.
  public let graph: Graph
  /// Inputs in order.
  public let inputs: [Input]
  /// Columns of each output.
  public let outputColumns: [Int]
  /// Rows of the embedding, which tokens must be below; nil for parts of a model without one.
  public let vocabularyCount: Int?
  /// Most tokens of a sequence, as far as tables of positions limit it; nil for no limit.
  public let positionCount: Int?
  /// How it computes.
  public let options: ExecutionOptions
  /// The constants.
  public let weights: PreparedWeights
  /// Floats per token of the arena.
  public let arenaColumns: Int
  /// Layers with a key and value cache: heads, head dimension and window by cache number.
  let caches: [Int: CacheShape]
  let steps: [Step]
  let rotaryTables: [Step.RotaryTableParameters]
  /// Whether every output is made after the last attention, so that a run may ask for some rows only.
  public let canSelectRows: Bool

  /// Compiles a graph with weights that are in panels already.
  /// - Throws: ``ExecutionError``, `GraphError`.
  public init(graph: Graph, weights: PreparedWeights, options: ExecutionOptions = .init()) throws {
    try graph.verify()
    try Program.checkInputs(of: graph)
    let plan = try MemoryPlan(graph, layout: options.layout)
    var builder = StepBuilder(graph: graph, plan: plan, weights: weights)
    var steps: [Step] = []
    var caches: [Int: CacheShape] = [:]
    var lastAttention = -1
    var outputBeforeLastAttention = false
    for node in graph.nodes {
      guard let step = try builder.step(node) else { continue }
      if case .attention(let parameters) = step.kind {
        guard caches[parameters.cache] == nil else {
          throw ExecutionError.unsupported(
            operation: "attention", scope: node.scope,
            reason: "cache \(parameters.cache) belongs to another layer")
        }
        caches[parameters.cache] = CacheShape(
          heads: parameters.keyValueHeads, headDimension: parameters.headDimension,
          valueDimension: parameters.valueDimension, window: parameters.window)
        lastAttention = steps.count
      }
      steps.append(step)
    }
    steps += plan.copies.map { Step(kind: .copy, inputs: [$0.source], outputs: [$0.target]) }
    for index in steps.indices {
      steps[index].isAfterLastAttention = index > lastAttention && options.layout.contains(.readRows)
      steps[index].isLastAttention = index == lastAttention && options.layout.contains(.readRows)
      let makesOutput = steps[index].outputs.contains { if case .output = $0.space { true } else { false } }
      if index <= lastAttention, makesOutput { outputBeforeLastAttention = true }
    }
    self.graph = graph
    self.options = options
    self.weights = weights
    self.steps = steps
    self.rotaryTables = builder.rotaryTables
    self.caches = caches
    self.arenaColumns = plan.arenaColumns
    self.canSelectRows = !outputBeforeLastAttention
    self.inputs = graph.inputs.map { Input(name: graph.name(of: $0), columns: graph.type(of: $0).columns) }
    self.outputColumns = graph.outputs.map { graph.type(of: $0).columns ?? 0 }
    (vocabularyCount, positionCount) = Program.tableSizes(steps, inputs)
  }

  /// The smallest tables of tokens and of positions.
  private static func tableSizes(_ steps: [Step], _ inputs: [Input]) -> (tokens: Int?, positions: Int?) {
    var sizes: (tokens: Int?, positions: Int?) = (nil, nil)
    for case .embedding(let table, let input, let offset) in steps.lazy.map(\.kind) {
      let rows = table.rows - offset
      if inputs[input].name == "positions" {
        sizes.positions = min(sizes.positions ?? rows, rows)
      } else {
        sizes.tokens = min(sizes.tokens ?? rows, rows)
      }
    }
    return sizes
  }

  /// Integers are vectors with one element a token, floats matrices with one row a token.
  private static func checkInputs(of graph: Graph) throws(ExecutionError) {
    for input in graph.inputs {
      let type = graph.type(of: input)
      let fits =
        type.element == .i32
        ? type.dimensions.count == 1 && type.columns == nil
        : type.dimensions.count == 2 && type.columns.map { $0 > 0 } ?? false
      guard fits else {
        throw .input(graph.name(of: input), expected: "i32[T] or f32[T, n]", found: "\(type)")
      }
    }
  }

  /// Compiles a graph, packing its weights.
  /// - Throws: ``ExecutionError``, `GraphError`, or what `weight` throws.
  public convenience init(
    graph: Graph, options: ExecutionOptions = .init(), weight: (String) throws -> Weight
  ) throws {
    // Float32 arithmetic promises exactly what the stored weights mean.
    let packing: PreparedWeights.MatrixPacking = options.activations == .float32 ? .exactPanels : .panels
    let prepared = try PreparedWeights(graph: graph, weight: weight, matrices: packing)
    try self.init(graph: graph, weights: prepared, options: options)
  }
}
