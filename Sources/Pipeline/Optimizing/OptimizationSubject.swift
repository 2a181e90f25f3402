import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// What is optimized: a model, or a graph in the textual form that belongs to none.
public struct OptimizationSubject: Sendable {
  /// Where it was read from.
  public let path: String
  /// Model family, or the graph's name.
  public let name: String
  /// The graph as it was read, its constants with the encodings of the weights.
  public let graph: Graph
  /// The model; nil for a graph of its own.
  public let model: LoadedModel?

  /// A model.
  public init(_ model: LoadedModel) {
    path = model.path
    name = model.summary.family
    self.model = model
    var graph = model.graph
    if case .checkpoint(let weights) = model.content {
      for (name, type) in graph.constants {
        guard let weight = weights[name] else { continue }
        graph.constants[name] = ConstantType(weight.encodingName, type.dimensions)
      }
    }
    self.graph = graph
  }

  /// A graph without weights.
  public init(_ graph: Graph, path: String) {
    self.path = path
    self.graph = graph
    name = graph.name
    model = nil
  }

  /// Reads a model, or a file in the textual form, which is told apart by its content.
  /// - Parameter checksValues: whether the values of a model's weights are looked at.
  /// - Throws: ``PipelineError``, `GraphError`, `SafeIOError`, or the format's own errors.
  public static func open(_ path: String, checksValues: Bool = true) throws -> OptimizationSubject {
    guard FileReading.exists(path) else { throw PipelineError.missing(path: path) }
    guard isTextualForm(path) else {
      return OptimizationSubject(try ModelFormats.load(path, checksValues: checksValues))
    }
    let text = String(decoding: try FileReading.readAll(path, limit: 1 << 26), as: UTF8.self)
    let graph = try Graph(parsing: text)
    try graph.verify()
    return OptimizationSubject(graph, path: path)
  }

  /// Whether a file's first line that is not empty or a comment begins with `graph`.
  static func isTextualForm(_ path: String) -> Bool {
    guard !FileReading.isDirectory(path), let start = try? FirstBytes.read(path, count: 1 << 16) else {
      return false
    }
    let lines = start.split(separator: UInt8(ascii: "\n")).lazy
      .map { $0.drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") } }
    let first = lines.first { !$0.isEmpty && !$0.starts(with: Array("//".utf8)) }
    return first?.starts(with: Array("graph".utf8)) ?? false
  }

  /// The weights of a model; nil when it has none that could be laid out anew.
  var weights: OrderedDictionary<String, Weight>? {
    guard let model, case .checkpoint(let weights) = model.content else { return nil }
    return weights
  }
}
