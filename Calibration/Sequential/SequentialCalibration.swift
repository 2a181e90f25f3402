import Codecs
import Execution
import GraphIR
import Kernels

/// Runs a corpus through a model stage by stage: up to the inputs of a group of linear layers, observe, let the caller replace
/// the group's weights, go on with the replaced weights. Every layer is computed once, and each group sees its inputs as
/// the already quantized layers before it make them.
public struct SequentialCalibration {
  /// What to gather.
  public enum Collection: Sendable {
    /// Mean squares and maxima.
    case moments
    /// Those, and the second moment.
    case secondMoments
  }

  /// How far it is.
  public struct Progress: Sendable {
    /// Scope of the group that is being prepared.
    public let scope: String
    /// Share of all work done, 0...1.
    public let fraction: Double
  }

  let graph: Graph
  let windows: CalibrationWindows
  let groups: [LinearGroup]
  let collection: Collection
  let pool: ThreadPool
  let kernels: KernelTable

  /// Prepares a run.
  /// - Parameters:
  ///   - graph: tokens to logits, as importers emit it.
  ///   - targets: names of the weights whose inputs are observed.
  public init(
    graph: Graph, windows: CalibrationWindows, targets: Set<String>, collection: Collection, pool: ThreadPool,
    kernels: KernelTable = .best
  ) {
    self.graph = graph
    self.windows = windows
    self.groups = LinearGroup.groups(of: graph, targets: targets)
    self.collection = collection
    self.pool = pool
    self.kernels = kernels
  }

  /// Runs all stages.
  ///
  /// - Parameters:
  ///   - weight: the weight of a name, as it is before quantization.
  ///   - progress: called before each window.
  ///   - quantize: gets a group and what was seen of its inputs; returns the weights to go on with, by name.
  /// - Throws: ``CalibrationError``, or what the closures throw.
  public func run(
    weight: (String) throws -> Weight, progress: (Progress) throws -> Void = { _ in },
    quantize: (LinearGroup, InputStatistics) throws -> [String: Weight]
  ) throws {
    var replaced: [String: Weight] = [:]
    var store = windows.windows.map { _ in [ValueID: StoredActivation]() }
    var previous: [ValueID] = []
    let lastUses = graph.uses
    for (number, group) in groups.enumerated() {
      let frontier = crossing(before: group.firstNode, uses: lastUses)
      let made = frontier.filter { !previous.contains($0) }
      let part = try graph.subgraph(inputs: previous, outputs: made)
      let program = try Program(graph: part, options: options) { name in
        if let weight = replaced[name] { return weight }
        return try weight(name)
      }
      // Weights of earlier stages are in no later segment but for tied ones, which are never quantized.
      let statistics = try advance(
        program, from: previous, to: frontier, making: made, observing: group, &store
      ) { window in
        try progress(
          Progress(
            scope: group.scope,
            fraction: (Double(number) + Double(window) / Double(windows.windows.count)) / Double(groups.count)
          ))
      }
      replaced = replaced.filter { name, _ in
        graph.nodes[group.firstNode...].contains { $0.constantOperands.contains(name) }
      }
      replaced.merge(try quantize(group, statistics)) { $1 }
      previous = frontier
    }
  }

  private var options: ExecutionOptions {
    ExecutionOptions(
      activations: .float32, cacheElement: .f32, chunkLength: windows.windows.map(\.count).max() ?? 1,
      kernels: kernels)
  }

  /// Runs one segment over all windows and observes the group's input. Values of the frontier that the segment does
  /// not make, such as the residual stream past an attention, stay in the store as they are.
  private func advance(
    _ program: Program, from previous: [ValueID], to frontier: [ValueID], making made: [ValueID],
    observing group: LinearGroup, _ store: inout [[ValueID: StoredActivation]], progress: (Int) throws -> Void
  ) throws -> InputStatistics {
    var observer = InputObserver(columns: group.columns, withSecondMoment: collection == .secondMoments)
    let session = Session(program: program, pool: pool)
    let names = previous.map { graph.name(of: $0) }
    for (number, window) in windows.windows.enumerated() {
      try progress(number)
      session.reset()
      let inputs = previous.map { store[number][$0]?.floats ?? [] }
      store[number] = store[number].filter { frontier.contains($0.key) }
      try unsafe withPointers(inputs) { pointers in
        let floats = unsafe Dictionary(uniqueKeysWithValues: zip(names, pointers))
        try unsafe session.run(tokens: window, floats: floats) { outputs in
          for (index, value) in made.enumerated() {
            let output = unsafe outputs[index]
            if value == group.input, unsafe !observer.observe(output, pool: pool) {
              throw CalibrationError.nonFinite(layer: group.weights[0], window: number)
            }
            store[number][value] = unsafe StoredActivation(output, compact: feedsOnlyLinears(value))
          }
        }
      }
    }
    return observer.finish()
  }

  private func feedsOnlyLinears(_ value: ValueID) -> Bool {
    let consumers = graph.consumers(of: value)
    return !consumers.isEmpty && consumers.allSatisfy { graph.nodes[$0].operation == .linear }
  }

  /// Float values made before the node and needed at it or after it.
  private func crossing(before node: Int, uses: UseTable) -> [ValueID] {
    graph.nodes[..<node].flatMap(\.results).filter { (uses.lastUse(of: $0) ?? -1) >= node }
  }

  private func withPointers<Result>(
    _ arrays: [[Float]], _ body: ([UnsafeBufferPointer<Float>]) throws -> Result
  ) rethrows -> Result {
    func descend(_ index: Int, _ pointers: [UnsafeBufferPointer<Float>]) throws -> Result {
      guard index < arrays.count else { return try unsafe body(pointers) }
      return try unsafe arrays[index].withUnsafeBufferPointer {
        try unsafe descend(index + 1, pointers + [$0])
      }
    }
    return try unsafe descend(0, [])
  }
}
