import Codecs
import Execution
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// What a graph costs to keep and to run.
public struct GraphMeasure: Sendable, Equatable {
  /// Nodes; slices are among them, although most are views that cost nothing.
  public let nodeCount: Int
  /// Bytes of the constants that nodes use, each counted once; nil when an encoding is not known here.
  public let constantByteCount: Int?
  /// Bytes of the executor's arena for each token of a run; nil when the executor cannot lay the graph out.
  public let arenaByteCount: Int?
  /// Bytes of activations that nodes read and write for each token; views move nothing.
  public let movedByteCount: Int
  /// An estimate of how long it runs.
  public let cost: GraphCost

  /// Measures a graph.
  public init(_ graph: Graph) {
    nodeCount = graph.nodes.count
    var names: Set<String> = []
    for node in graph.nodes { names.formUnion(node.constantOperands) }
    let sizes = names.map { graph.constants[$0].flatMap(Self.byteCount) }
    constantByteCount = sizes.contains(nil) ? nil : sizes.reduce(0) { $0 + ($1 ?? 0) }
    arenaByteCount = (try? MemoryPlan(graph)).map { $0.arenaColumns * MemoryLayout<Float>.stride }
    movedByteCount = graph.nodes.reduce(0) { $0 + Self.movedByteCount(of: $1, graph) }
    cost = GraphCost(graph)
  }

  /// Bytes of activations that a node reads and writes for each token.
  static func movedByteCount(of node: Node, _ graph: Graph) -> Int {
    guard node.operation != .slice else { return 0 }
    let values = node.valueOperands + node.results
    return values.reduce(0) { $0 + width(graph.type(of: $1)) } * MemoryLayout<Float>.stride
  }

  /// Elements of a value for each token.
  private static func width(_ type: ValueType) -> Int { type.dimensions.reduce(1) { $0 * ($1.extent ?? 1) } }

  /// Bytes of a constant; nil when its encoding is not known here.
  static func byteCount(_ type: ConstantType) -> Int? {
    let count = type.dimensions.reduce(1, *)
    if let element = ElementType.allCases.first(where: { $0.name == type.encoding }) {
      return (count * element.bitWidth + 7) / 8
    }
    guard let codec = try? CodecRegistry.codec(canonicalName: type.encoding) else { return nil }
    return Int((Double(count) * codec.bitsPerWeight(columns: type.dimensions.last ?? 1) / 8).rounded(.up))
  }

  var json: JSONObject {
    [
      "nodes": JSONValue(nodeCount), "constant_bytes": constantByteCount.map { JSONValue($0) } ?? .null,
      "arena_bytes_per_token": arenaByteCount.map { JSONValue($0) } ?? .null,
      "moved_bytes_per_token": JSONValue(movedByteCount),
      "estimated_token_seconds": .number(cost.tokenSeconds),
      "estimated_prompt_seconds_per_token": .number(cost.promptSeconds),
    ]
  }
}
