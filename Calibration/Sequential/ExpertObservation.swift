import GraphIR

/// What a run knows of the experts of each layer: where its router's choice is first used, which tokens every expert's statistics
/// are made of, and which values have to be kept for the tokens that experts borrow.
struct ExpertObservation {
  /// A layer of experts.
  struct Layer {
    let routing: ValueID
    /// What the router chooses by.
    let logits: ValueID
    let isSoftmax: Bool
    let scope: String
    let experts: Int
    let chosen: Int
    /// Node that chooses.
    let choice: Int
    /// First node that uses the choice.
    let start: Int
    /// Values that the experts make from those of ``kept`` and that some of them read.
    var made: Set<ValueID> = []
    /// Values made before ``start`` that are needed to compute ``made`` once more.
    var kept: Set<ValueID> = []
    /// Until which node they are.
    var end: Int
    var assignment: ExpertAssignment?
  }

  private(set) var layers: [Layer] = []
  private let minimum: Int
  private var position = -1
  /// Inputs of borrowed tokens by expert, and the value whose rows they are.
  private(set) var borrowedRows: (value: ValueID, rows: [Int: [Float]])?

  init(graph: Graph, groups: [LinearGroup], minimum: Int) {
    self.minimum = minimum
    let uses = graph.uses
    for group in groups {
      guard let choice = group.expert?.choice else { continue }
      let number =
        layers.firstIndex { $0.routing == choice.routing } ?? add(choice, group, graph: graph, uses: uses)
      guard let number, let producer = uses.producer(of: group.input) else { continue }
      layers[number].end = max(layers[number].end, group.firstNode)
      guard producer >= layers[number].start else { continue }
      layers[number].made.insert(group.input)
      layers[number].kept.formUnion(Self.sources(of: group.input, after: layers[number].start, graph, uses))
    }
  }

  private mutating func add(
    _ choice: ExpertChoice, _ group: LinearGroup, graph: Graph, uses: UseTable
  ) -> Int? {
    guard let index = uses.producer(of: choice.routing), graph.nodes[index].operation == .route,
      let logits = graph.nodes[index].operands.first?.value,
      let experts = graph.type(of: choice.routing).columns,
      let start = uses.consumers(of: choice.routing).first
    else { return nil }
    let node = graph.nodes[index]
    layers.append(
      Layer(
        routing: choice.routing, logits: logits, isSoftmax: (try? node.string("scores")) == "softmax",
        scope: node.scope, experts: experts, chosen: choice.chosen, choice: index, start: start,
        end: group.firstNode))
    return layers.count - 1
  }

  /// Values made before a node that a value made there or later depends on.
  private static func sources(
    of value: ValueID, after start: Int, _ graph: Graph, _ uses: UseTable
  ) -> Set<ValueID> {
    var sources: Set<ValueID> = []
    var open = [value]
    while let next = open.popLast() {
      guard let producer = uses.producer(of: next) else { continue }
      if producer < start {
        sources.insert(next)
      } else {
        open += graph.nodes[producer].valueOperands
      }
    }
    return sources
  }

  /// Nodes before which a run stops on its way to a group: where it must look at a router's choice, and the group's own.
  mutating func stops(before group: LinearGroup) -> [Int] {
    defer { position = group.firstNode }
    let needed = minimum > 0 ? layers.map(\.start) : []
    return Set(needed.filter { $0 > position && $0 < group.firstNode }).sorted() + [group.firstNode]
  }

  /// The values that a run keeps at a stop, besides those that the model needs there.
  func frontier(_ values: [ValueID], before stop: Int) -> [ValueID] {
    guard minimum > 0 else { return values }
    var result = values
    for layer in layers {
      if layer.choice < stop, stop <= layer.start { result.append(layer.logits) }
      if layer.start <= stop, stop <= layer.end { result += layer.kept.sorted() }
    }
    var known: Set<ValueID> = []
    return result.filter { known.insert($0).inserted }
  }

  /// Decides which tokens each expert sees, as soon as the router's choice is there for all windows.
  mutating func assign(at stop: Int, _ store: [[ValueID: StoredActivation]]) {
    for number in layers.indices where layers[number].assignment == nil {
      let layer = layers[number]
      guard layer.choice < stop, stop <= layer.end else { continue }
      let routing = store.compactMap { $0[layer.routing]?.floats }
      guard routing.count == store.count else { continue }
      let scores: [[Float]] =
        minimum == 0
        ? []
        : store.compactMap { window in
          window[layer.logits].map {
            ExpertAssignment.scores(logits: $0.floats, experts: layer.experts, isSoftmax: layer.isSoftmax)
          }
        }
      layers[number].assignment = ExpertAssignment(
        routing: routing, scores: scores.count == store.count ? scores : nil, experts: layer.experts,
        chosen: layer.chosen, minimum: minimum)
    }
  }

  /// The layer of a group and its assignment.
  func layer(of group: LinearGroup) -> (Layer, ExpertAssignment)? {
    guard let layer = layers.first(where: { $0.routing == group.expert?.choice.routing }),
      let assignment = layer.assignment
    else { return nil }
    return (layer, assignment)
  }

  mutating func keep(_ rows: [Int: [Float]], of value: ValueID) { borrowedRows = (value, rows) }

  /// What the experts of each layer saw.
  var coverage: [ExpertCoverage] {
    layers.compactMap { layer in
      layer.assignment.map {
        ExpertCoverage(scope: layer.scope, routed: $0.routed, borrowed: $0.borrowed.map(\.count))
      }
    }
  }
}
