import GraphIR

/// The values of a decoder to which every block adds, and the weights that write and read them: what has to change together
/// when the stream is multiplied by an orthogonal matrix.
///
/// A root mean square does not change under such a matrix, so that the norms between stream and readers stay, once their gains
/// are in the readers' weights. Found from the graph alone, whatever the family.
/// Source: Ashkboos et al. 2024, "QuaRot" (arXiv 2404.00456), section 4; the invariance is that of SliceGPT (arXiv 2401.15024).
public struct ResidualStream: Sendable, Equatable {
  /// Weights that read the stream, and the norm through which they do.
  public struct Reader: Sendable, Equatable {
    /// The norm's gain, to which `offset` is added; nil without a norm.
    public let gain: String?
    /// Added to the gain.
    public let offset: Double
    /// The weights, `[out, width]`.
    public let weights: [String]
  }

  /// A projection whose result is added to the stream.
  public struct Writer: Sendable, Equatable {
    /// The weight, `[width, in]`.
    public let weight: String
    /// Its bias.
    public let bias: String?
  }

  /// Why a graph has no stream that can be turned.
  public struct Refusal: Error, Equatable {
    /// What is in the way, as the rest of a sentence.
    public let reason: String
  }

  /// Columns of the stream.
  public private(set) var width = 0
  /// Tables whose rows enter the stream.
  public private(set) var tables: [String] = []
  /// In the order of the graph.
  public private(set) var readers: [Reader] = []
  /// In the order of the graph.
  public private(set) var writers: [Writer] = []
  /// The table that is the weight of the head as well, when there is one.
  public private(set) var tiedTable: String?

  /// Finds the stream that begins at the embedding of the tokens.
  public static func find(in graph: Graph) throws(Refusal) -> ResidualStream {
    var search = StreamSearch(graph: graph)
    try search.run()
    return try search.stream()
  }

  fileprivate init(width: Int, tables: [String], readers: [Reader], writers: [Writer], tiedTable: String?) {
    self.width = width
    self.tables = tables
    self.readers = readers
    self.writers = writers
    self.tiedTable = tiedTable
  }
}

private struct StreamSearch {
  let graph: Graph
  let uses: UseTable
  private var known: Set<ValueID> = []
  private var open: [ValueID] = []
  private var tables: [Int: String] = [:]
  private var readers: [Int: ResidualStream.Reader] = [:]
  private var writers: [Int: [ResidualStream.Writer]] = [:]

  init(graph: Graph) {
    self.graph = graph
    uses = graph.uses
  }

  private func refusal(_ reason: String) -> ResidualStream.Refusal { .init(reason: reason) }

  private mutating func enter(_ value: ValueID) {
    if known.insert(value).inserted { open.append(value) }
  }

  mutating func run() throws(ResidualStream.Refusal) {
    guard let start = graph.nodes.first(where: { $0.operation == .embedding })?.results.first else {
      throw refusal("nothing is looked up by token")
    }
    enter(start)
    while let value = open.popLast() {
      guard !uses.isOutput(value) else { throw refusal("'\(graph.name(of: value))' is an output") }
      guard let producer = uses.producer(of: value) else {
        throw refusal("'\(graph.name(of: value))' is an input")
      }
      try write(producer, value)
      for consumer in uses.consumers(of: value) { try read(consumer, value) }
    }
  }

  /// What makes a value of the stream.
  private mutating func write(_ index: Int, _ value: ValueID) throws(ResidualStream.Refusal) {
    let node = graph.nodes[index]
    switch node.operation {
    case .add: node.valueOperands.forEach { enter($0) }
    case .scale, .scaleRows:
      if let inner = node.operands[0].value { enter(inner) }
    case .embedding: tables[index] = node.operands.flatMap(\.constants).first
    case .linear:
      guard case .constant(let weight) = node.operands[1],
        node.operands.count < 3 || node.operands[2].constants.count == 1
      else { throw refusal("'\(graph.name(of: value))' is made by several weights") }
      writers[index] = [
        .init(weight: weight, bias: node.operands.count > 2 ? node.operands[2].constants.first : nil)
      ]
    case .expertSum:
      guard let products = node.operands[0].value, let made = uses.producer(of: products),
        graph.nodes[made].operation == .expertLinear, uses.consumers(of: products) == [index]
      else { throw refusal("'\(graph.name(of: value))' sums what no experts' weights make") }
      writers[index] = graph.nodes[made].operands[2].constants.map { .init(weight: $0, bias: nil) }
    default:
      throw refusal("\(node.operation) makes '\(graph.name(of: value))', which is added to the stream")
    }
  }

  /// What reads a value of the stream.
  private mutating func read(_ index: Int, _ value: ValueID) throws(ResidualStream.Refusal) {
    let node = graph.nodes[index]
    switch node.operation {
    case .add: node.results.forEach { enter($0) }
    case .scale: node.results.forEach { enter($0) }
    case .scaleRows where node.operands[0].value == value: node.results.forEach { enter($0) }
    case .linear, .expertLinear:
      readers[index] = .init(gain: nil, offset: 0, weights: try weights(of: node, reading: value))
    case .rmsNorm: readers[index] = try normReaders(node)
    case .layerNorm: throw refusal("layer norms take the mean of the stream's columns")
    default: throw refusal("\(node.operation) reads the stream '\(graph.name(of: value))'")
    }
  }

  private func normReaders(_ node: Node) throws(ResidualStream.Refusal) -> ResidualStream.Reader {
    guard (try? node.integer("heads")) == 1, case .constant(let gain) = node.operands[1],
      let result = node.results.first, !uses.isOutput(result)
    else { throw refusal("a norm of parts of the stream reads it") }
    var names: [String] = []
    for index in uses.consumers(of: result) {
      let reader = graph.nodes[index]
      guard reader.operation == .linear || reader.operation == .expertLinear else {
        throw refusal("\(reader.operation) reads '\(graph.name(of: result))', a norm of the stream")
      }
      names += try weights(of: reader, reading: result)
    }
    return .init(gain: gain, offset: (try? node.float("offset")) ?? 0, weights: names)
  }

  private func weights(of node: Node, reading value: ValueID) throws(ResidualStream.Refusal) -> [String] {
    guard node.operands[0].value == value, node.valueOperands.count(where: { $0 == value }) == 1 else {
      throw refusal("\(node.operation) reads '\(graph.name(of: value))' in two ways")
    }
    return node.operands[node.operation == .linear ? 1 : 2].constants
  }

  /// The stream, when each constant has one part in it; only a table can be the head's weight as well.
  func stream() throws(ResidualStream.Refusal) -> ResidualStream {
    guard let width = known.first.flatMap({ graph.type(of: $0).columns }) else {
      throw refusal("it is empty")
    }
    let readers = readers.sorted { $0.key < $1.key }.map(\.value)
    let writers = writers.sorted { $0.key < $1.key }.flatMap(\.value)
    let tables = tables.sorted { $0.key < $1.key }.map(\.value)
    let others =
      readers.flatMap { [$0.gain].compactMap(\.self) + $0.weights }
      + writers.flatMap { [$0.weight] + [$0.bias].compactMap(\.self) }
    var counts: [String: Int] = [:]
    for node in graph.nodes { for name in node.constantOperands { counts[name, default: 0] += 1 } }
    var tied: String?
    for name in tables + others where counts[name] != 1 {
      guard counts[name] == 2, tables.contains(name), readers.last?.weights == [name],
        tied == nil || tied == name
      else {
        throw refusal("'\(name)' is used in several places")
      }
      tied = name
    }
    guard !readers.isEmpty, !writers.isEmpty else { throw refusal("nothing reads or writes it") }
    return ResidualStream(width: width, tables: tables, readers: readers, writers: writers, tiedTable: tied)
  }
}
