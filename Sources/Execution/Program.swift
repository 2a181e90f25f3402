import Codecs
import GraphIR
import Kernels
import OrderedCollections

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
  /// How the input of each matrix is quantized, by key, as options, model and storage have it together.
  public let activations: [String: InputQuantization]
  /// How keys and values are cached, as options and model have it together.
  public let cache: CacheQuantization
  /// Which entries of a full cache stay; nil when caches grow.
  let eviction: EvictionPlan?
  /// Layers whose caches a policy leaves alone, since windows of their own keep them small; 0 without a policy.
  public var windowedLayerCount: Int { eviction?.windowedCount ?? 0 }
  /// Floats per token of the arena.
  public let arenaColumns: Int
  /// Layers with a key and value cache: heads, head dimension and window by cache number.
  let caches: [Int: CacheShape]
  let steps: [Step]
  let rotaryTables: [Step.RotaryTableParameters]
  /// Codes of rows that are needed at a time.
  let codeSlots: Int
  /// What becomes of the inputs of linear layers that are rounded to codes, in graph order.
  public let roundedInputs: [RoundedInput]
  /// Whether every output is made after the last attention, so that a run may ask for some rows only.
  public let canSelectRows: Bool

  /// Compiles a graph with weights that are in panels already.
  /// - Throws: ``ExecutionError``, `GraphError`.
  public init(graph: Graph, weights: PreparedWeights, options: ExecutionOptions = .init()) throws {
    try graph.verify()
    try Program.checkInputs(of: graph)
    let plan = try MemoryPlan(graph, layout: options.layout)
    activations = try Program.activations(graph, weights, options)
    var builder = StepBuilder(graph: graph, plan: plan, weights: weights, activations: activations)
    var steps: [Step] = []
    var caches: [Int: CacheShape] = [:]
    var lastAttention = -1
    var outputBeforeLastAttention = false
    let rounding = RoundingPlan(graph, weights: weights, activations: activations, options: options)
    for (index, node) in graph.nodes.enumerated() {
      guard var step = try builder.step(node) else { continue }
      step.rounding = rounding.makers[index]
      step.roundedInput = rounding.takers[index]
      step.readsRounded = rounding.readers.contains(index)
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
    self.codeSlots = rounding.slotCount
    self.roundedInputs = rounding.inputs
    self.caches = caches
    let cache = try Program.cache(caches, weights.cache, options)
    self.cache = cache
    eviction = try options.cachePolicy.map { policy throws(ExecutionError) in
      try EvictionPlan(
        policy, graph: graph, weights: weights, steps: steps, format: cache.format)
    }
    self.arenaColumns = plan.arenaColumns
    self.canSelectRows = !outputBeforeLastAttention
    self.inputs = graph.inputs.map { Input(name: graph.name(of: $0), columns: graph.type(of: $0).columns) }
    self.outputColumns = graph.outputs.map { graph.type(of: $0).columns ?? 0 }
    (vocabularyCount, positionCount) = Program.tableSizes(steps, inputs)
  }

  /// How the input of each matrix is quantized: as the options say, else as the model says, else as usual for its storage.
  private static func activations(
    _ graph: Graph, _ weights: PreparedWeights, _ options: ExecutionOptions
  ) throws(ExecutionError) -> [String: InputQuantization] {
    var result: [String: InputQuantization] = [:]
    for key in PreparedWeights.linearOperands(of: graph).keys {
      guard let matrix = weights.matrices[key] else { continue }
      let stated = weights.activations[key]
      try check(stated, key, matrix)
      if options.activations == nil, let stated {
        result[key] = stated
        continue
      }
      let scheme = options.activations ?? options.unstatedActivations
      guard matrix.encoding.isQuantized || (matrix.isFromCodes && scheme.kind == .fp8) else { continue }
      var input = InputQuantization(scheme)
      if scheme == stated?.scheme { input = stated ?? input }
      try check(input, key, matrix)
      result[key] = input
    }
    return result
  }

  private static func check(
    _ input: InputQuantization?, _ key: String, _ matrix: PanelMatrix
  ) throws(ExecutionError) {
    guard let problem = input?.problem(columns: matrix.columns) else { return }
    throw .unsupported(operation: "linear", scope: key, reason: problem)
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
  /// - Parameters:
  ///   - activations: how the model says that inputs are quantized, by names of weights.
  ///   - cache: how the model says that keys and values are cached; nil when it says nothing.
  /// - Throws: ``ExecutionError``, `GraphError`, or what `weight` throws.
  public convenience init(
    graph: Graph, options: ExecutionOptions = .init(),
    activations: OrderedDictionary<String, InputQuantization> = [:], cache: CacheQuantization? = nil,
    weight: (String) throws -> Weight
  ) throws {
    // Float32 arithmetic promises exactly what the stored weights mean.
    let usual = options.activations ?? (activations.isEmpty ? options.unstatedActivations : nil)
    var prepared = try PreparedWeights(
      graph: graph, weight: weight, matrices: usual == .float32 ? .exactPanels : .panels,
      activations: activations, arena: options.layout.contains(.weightArena) ? WeightArena() : nil,
      compacts: options.layout.contains(.compactWeights))
    prepared.cache = cache
    try self.init(graph: graph, weights: prepared, options: options)
  }
}
