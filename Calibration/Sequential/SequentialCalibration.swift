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
    /// Those, and how inputs differ from those of the unquantized model, which is run beside on every
    /// ``driftStride``-th window; not for experts.
    case secondMomentsAndDrift
  }

  /// How far it is.
  public struct Progress: Sendable {
    /// Scope of the group that is being prepared.
    public let scope: String
    /// Share of all work done, 0...1.
    public let fraction: Double
  }

  /// Windows from one that the unquantized model reads to the next: it costs as much as the quantized one.
  public static let driftStride = 2

  let graph: Graph
  let windows: CalibrationWindows
  let groups: [LinearGroup]
  let collection: Collection
  let minimumExpertTokens: Int
  let corpus: WindowSegment?
  let pool: ThreadPool
  let kernels: KernelTable
  /// Gets the inputs of each group, `[rows, columns]` of a window, when they are observed; borrowed tokens are left out.
  package var inspect: ((LinearGroup, [Float]) throws -> Void)?
  /// Gets the number of a cache and the keys and values that a window's tokens put there, row by row, and how many tokens they are.
  package var inspectCache: ((Int, _ keys: [Float], _ values: [Float], _ tokens: Int) -> Void)?

  /// Prepares a run.
  /// - Parameters:
  ///   - graph: tokens to logits, as importers emit it.
  ///   - targets: names of the weights whose inputs are observed.
  ///   - minimumExpertTokens: experts that the router sends fewer tokens borrow those that it would send them next, for
  ///     their statistics only: what the model computes stays the same.
  ///   - corpus: what the windows are of their corpus, when sums are wanted by segments of it.
  public init(
    graph: Graph, windows: CalibrationWindows, targets: Set<String>, collection: Collection,
    minimumExpertTokens: Int = 0, bySegmentsOf corpus: WindowSegment? = nil, pool: ThreadPool,
    kernels: KernelTable = .best
  ) {
    self.graph = graph
    self.windows = windows
    self.groups = LinearGroup.groups(of: graph, targets: targets)
    self.collection = collection
    self.minimumExpertTokens = minimumExpertTokens
    self.corpus = corpus
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
  /// - Returns: what the experts of each layer saw, for layers whose experts are among the targets.
  /// - Throws: ``CalibrationError``, or what the closures throw.
  @discardableResult
  public func run(
    weight: (String) throws -> Weight, progress: (Progress) throws -> Void = { _ in },
    finished: (LinearGroup) throws -> [String: Weight]? = { _ in nil },
    quantize: (LinearGroup, ObservedInputs) throws -> [String: Weight]
  ) throws -> [ExpertCoverage] {
    var replaced: [String: Weight] = [:]
    var store = windows.windows.map { _ in [ValueID: StoredActivation]() }
    // The same of the unquantized model, by window; nil as long as nothing is quantized.
    var reference: [Int: [ValueID: StoredActivation]]?
    var previous: [ValueID] = []
    var experts = ExpertObservation(graph: graph, groups: groups, minimum: minimumExpertTokens)
    let lastUses = graph.uses
    for (number, group) in groups.enumerated() {
      let known = try finished(group)
      var observer = known == nil ? observer(of: group, withDrift: reference != nil) : nil
      let current = { name in try replaced[name] ?? weight(name) }
      for stop in experts.stops(before: group) {
        let frontier = experts.frontier(crossing(before: stop, uses: lastUses), before: stop)
        let segment = try segment(from: previous, to: frontier, weight: current)
        let plain = try reference.map { _ in try self.segment(from: previous, to: frontier, weight: weight) }
        try advance(
          segment, reference: plain, to: stop == group.firstNode ? group : nil, &observer, &store, &reference
        ) { window in
          try progress(
            Progress(
              scope: group.scope,
              fraction: (Double(number) + Double(window) / Double(windows.windows.count))
                / Double(groups.count)
            ))
        }
        experts.assign(at: stop, store)
        previous = frontier
      }
      try observeExpert(of: group, store, &experts, &observer, weight: current)
      // Of the weights replaced before, those are kept that something still to be run reads.
      replaced = replaced.filter { name, _ in
        graph.nodes[group.firstNode...].contains { $0.constantOperands.contains(name) }
      }
      let observed = try observer.take()?.finish()
      let weights = if let observed { try quantize(group, observed) } else { known ?? [:] }
      replaced.merge(weights) { $1 }
      if collection == .secondMomentsAndDrift, reference == nil, !weights.isEmpty {
        let compared = stride(from: 0, to: store.count, by: Self.driftStride)
        reference = Dictionary(uniqueKeysWithValues: compared.map { ($0, store[$0]) })
      }
    }
    return experts.coverage
  }

  var options: ExecutionOptions {
    ExecutionOptions(
      activations: .float32, cache: .f32, chunkLength: windows.windows.map(\.count).max() ?? 1,
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

  private func observer(of group: LinearGroup, withDrift: Bool) -> InputObserver {
    InputObserver(
      columns: group.columns, withSecondMoment: collection != .moments,
      withDrift: withDrift && group.expert == nil, bySegmentsOf: corpus)
  }

  /// Runs one segment over all windows and observes the group's input, if there is an observer and the group is no expert's.
  /// Values of the frontier that the segment does not make, such as the residual stream past an attention, stay in the store
  /// as they are.
  private func advance(
    _ segment: Segment, reference plain: Segment?, to group: LinearGroup?, _ observer: inout InputObserver?,
    _ store: inout [[ValueID: StoredActivation]], _ reference: inout [Int: [ValueID: StoredActivation]]?,
    progress: (Int) throws -> Void
  ) throws {
    let session = segment.program.map { Session(program: $0, pool: pool) }
    let plainSession = plain?.program.map { Session(program: $0, pool: pool) }
    session?.observeCache = inspectCache
    let observed = group.flatMap { $0.expert == nil ? $0 : nil }
    for number in windows.windows.indices {
      try progress(number)
      var unquantized: [Float]?
      if let plain, let past = reference?[number] {
        reference?[number] = past.filter { plain.carried.contains($0.key) }
        if let observed, plain.carried.contains(observed.input) {
          unquantized = past[observed.input]?.floats
        }
        if let plainSession {
          try unsafe run(plainSession, plain, on: number, past) { value, output in
            if value == observed?.input { unquantized = unsafe Array(output) }
            reference?[number]?[value] = unsafe StoredActivation(output, compact: true)
          }
        }
      }
      let before = store[number]
      store[number] = before.filter { segment.carried.contains($0.key) }
      if let observed, segment.carried.contains(observed.input), let values = before[observed.input]?.floats {
        try unsafe values.withUnsafeBufferPointer {
          try unsafe observe($0, reference: unquantized, of: observed, window: number, &observer)
        }
      }
      guard let session else { continue }
      try unsafe run(session, segment, on: number, before) { value, output in
        if let observed, value == observed.input {
          try unsafe observe(output, reference: unquantized, of: observed, window: number, &observer)
        }
        store[number][value] = unsafe StoredActivation(output, compact: feedsOnlyLinears(value))
      }
    }
  }

  func observe(
    _ inputs: UnsafeBufferPointer<Float>, reference: [Float]? = nil, of group: LinearGroup, window: Int,
    isBorrowed: Bool = false, _ observer: inout InputObserver?
  ) throws {
    if !isBorrowed { try observer?.reach(window: (corpus?.windows.lowerBound ?? 0) + window) }
    guard
      unsafe observer?.observe(inputs, reference: reference, isBorrowed: isBorrowed, pool: pool) ?? true
    else {
      throw CalibrationError.nonFinite(layer: group.weights[0], window: window)
    }
    if !isBorrowed, let inspect { try inspect(group, unsafe Array(inputs)) }
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

  func withPointers<Result>(
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
