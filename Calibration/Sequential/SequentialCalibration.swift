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
  ///   - finished: the weights to go on with of a group that was quantized before; nil when it was not. Such a group is
  ///     computed for the sake of those behind it, and not observed.
  ///   - quantize: gets a group and what was seen of its inputs; returns the weights to go on with, by name.
  /// - Throws: ``CalibrationError``, or what the closures throw.
  public func run(
    weight: (String) throws -> Weight, progress: (Progress) throws -> Void = { _ in },
    finished: (LinearGroup) throws -> [String: Weight]? = { _ in nil },
    quantize: (LinearGroup, InputStatistics) throws -> [String: Weight]
  ) throws {
    var replaced: [String: Weight] = [:]
    var store = windows.windows.map { _ in [ValueID: StoredActivation]() }
    var previous: [ValueID] = []
    let lastUses = graph.uses
    for (number, group) in groups.enumerated() {
      let frontier = crossing(before: group.firstNode, uses: lastUses)
      let segment = try segment(from: previous, to: frontier) { name in
        if let weight = replaced[name] { return weight }
        return try weight(name)
      }
      let known = try finished(group)
      var observer = known == nil ? observer(of: group) : nil
      try advance(segment, to: group, &observer, &store) { window in
        try progress(
          Progress(
            scope: group.scope,
            fraction: (Double(number) + Double(window) / Double(windows.windows.count)) / Double(groups.count)
          ))
      }
      // Of the weights replaced before, those are kept that something still to be run reads.
      replaced = replaced.filter { name, _ in
        graph.nodes[group.firstNode...].contains { $0.constantOperands.contains(name) }
      }
      let weights = if let observer { try quantize(group, observer.finish()) } else { known ?? [:] }
      replaced.merge(weights) { $1 }
      previous = frontier
    }
  }

  private var options: ExecutionOptions {
    ExecutionOptions(
      activations: .float32, cacheElement: .f32, chunkLength: windows.windows.map(\.count).max() ?? 1,
      kernels: kernels)
  }

  /// The part of the graph between two frontiers.
  private struct Segment {
    /// Values that it is given.
    let inputs: [ValueID]
    /// Values that it makes and something later needs.
    let made: [ValueID]
    /// Values of the earlier frontier that something later still needs, such as the residual stream.
    let carried: [ValueID]
    /// Nil when nothing is made.
    let program: Program?
  }

  private func segment(
    from previous: [ValueID], to frontier: [ValueID], weight: (String) throws -> Weight
  ) throws -> Segment {
    let given = Set(previous)
    let made = frontier.filter { !given.contains($0) }
    let program =
      made.isEmpty
      ? nil
      : try Program(graph: graph.subgraph(inputs: previous, outputs: made), options: options, weight: weight)
    return Segment(inputs: previous, made: made, carried: frontier.filter(given.contains), program: program)
  }

  private func observer(of group: LinearGroup) -> InputObserver {
    InputObserver(columns: group.columns, withSecondMoment: collection == .secondMoments)
  }

  /// Runs one segment over all windows and observes the group's input, if there is an observer. Values of the frontier
  /// that the segment does not make, such as the residual stream past an attention, stay in the store as they are.
  private func advance(
    _ segment: Segment, to group: LinearGroup, _ observer: inout InputObserver?,
    _ store: inout [[ValueID: StoredActivation]], progress: (Int) throws -> Void
  ) throws {
    let session = segment.program.map { Session(program: $0, pool: pool) }
    for number in windows.windows.indices {
      try progress(number)
      let before = store[number]
      store[number] = before.filter { segment.carried.contains($0.key) }
      if group.expert == nil, segment.carried.contains(group.input),
        let values = before[group.input]?.floats
      {
        try unsafe values.withUnsafeBufferPointer {
          try unsafe observe($0, of: group, window: number, &observer)
        }
      }
      guard let session else {
        try observeExpert(of: group, window: number, store[number], &observer)
        continue
      }
      try unsafe run(session, segment, on: number, before) { value, output in
        if value == group.input, group.expert == nil {
          try unsafe observe(output, of: group, window: number, &observer)
        }
        store[number][value] = unsafe StoredActivation(output, compact: feedsOnlyLinears(value))
      }
      try observeExpert(of: group, window: number, store[number], &observer)
    }
  }

  /// Observes the inputs of an expert: rows of the tokens that go to it, from the places that they have there.
  private func observeExpert(
    of group: LinearGroup, window: Int, _ store: [ValueID: StoredActivation], _ observer: inout InputObserver?
  ) throws {
    guard let expert = group.expert, observer != nil, let inputs = store[group.input]?.floats,
      let routing = store[expert.choice.routing]?.floats,
      let width = graph.type(of: group.input).columns,
      let count = graph.type(of: expert.choice.routing).columns
    else { return }
    var rows: [Float] = []
    for token in 0..<inputs.count / max(width, 1) {
      let weights = routing[token * count..<(token + 1) * count]
      let chosen = weights.indices.filter { weights[$0] != 0 }.prefix(expert.choice.chosen)
      guard let place = chosen.firstIndex(of: token * count + expert.number) else { continue }
      let start = token * width + (width == group.columns ? 0 : place * group.columns)
      rows += inputs[start..<start + group.columns]
    }
    try unsafe rows.withUnsafeBufferPointer {
      try unsafe observe($0, of: group, window: window, &observer)
    }
  }

  private func observe(
    _ inputs: UnsafeBufferPointer<Float>, of group: LinearGroup, window: Int, _ observer: inout InputObserver?
  ) throws(CalibrationError) {
    guard unsafe observer?.observe(inputs, pool: pool) ?? true else {
      throw .nonFinite(layer: group.weights[0], window: window)
    }
  }

  /// Runs a segment over one window and hands out what it makes.
  private func run(
    _ session: Session, _ segment: Segment, on window: Int, _ store: [ValueID: StoredActivation],
    _ body: (ValueID, UnsafeBufferPointer<Float>) throws -> Void
  ) throws {
    session.reset()
    let names = segment.inputs.map { graph.name(of: $0) }
    try unsafe withPointers(segment.inputs.map { store[$0]?.floats ?? [] }) { pointers in
      let floats = unsafe Dictionary(uniqueKeysWithValues: zip(names, pointers))
      try unsafe session.run(tokens: windows.windows[window], floats: floats) { outputs in
        for (index, value) in segment.made.enumerated() { try unsafe body(value, outputs[index]) }
      }
    }
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
