import Codecs
import GraphIR
import Kernels
import OrderedCollections

/// An input of linear layers that is rounded, to codes or to values of FP8, and who does that.
public struct RoundedInput: Sendable, Equatable {
  /// Name of the value.
  public let site: String
  /// How many linear layers read it rounded in this way.
  public let readers: Int
  /// Why each of them rounds for itself; nil when the operation before does it once for all.
  public let reason: String?
}

/// Which operations round what linear layers read, row by row while a row is in the cache: to codes beside the row, or, for FP8, in its
/// place when nothing else reads it.
///
/// The graph cannot say it: how inputs are rounded is known when weights and options are. Norms do it; what attention and gated
/// layers make comes in columns, whose scales are known when all are there.
struct RoundingPlan {
  /// What nodes make besides their results, by index.
  private(set) var makers: [Int: Step.Rounding] = [:]
  /// Numbers of the codes that nodes take, by index.
  private(set) var takers: [Int: Int] = [:]
  /// Nodes whose input is rounded in its place.
  private(set) var readers: Set<Int> = []
  /// Codes that are needed at a time.
  private(set) var slotCount = 0
  private(set) var inputs: [RoundedInput] = []

  private static let norms: Set<Operation> = [.rmsNorm, .layerNorm, .addRMSNorm, .addLayerNorm]
  private static let projections: Set<Operation> = [.linear, .linearActivation, .linearGated]

  /// A way to round rows.
  private struct Key: Hashable {
    let input: InputQuantization
    let blockLength: Int
  }

  init(
    _ graph: Graph, weights: PreparedWeights, activations: [String: InputQuantization],
    options: ExecutionOptions
  ) {
    let uses = graph.uses
    /// By slot, the last node that reads it.
    var busy: [Int] = []
    for (index, node) in graph.nodes.enumerated() {
      for (position, value) in node.results.enumerated() {
        let ways = Self.ways(uses.consumers(of: value), value, graph, weights, activations, options)
        guard
          let (key, nodes) = ways.max(by: { ($0.value.count, $1.value[0]) < ($1.value.count, $0.value[0]) })
        else { continue }
        let isAlone = uses.consumers(of: value).count == nodes.count && !uses.isOutput(value)
        let reason = Self.refusal(node, position, key, isAlone: isAlone, options)
        inputs.append(
          RoundedInput(site: graph.name(of: value), readers: nodes.count, reason: reason))
        guard reason == nil, let last = nodes.last else { continue }
        if key.input.scheme.kind == .fp8 {
          makers[index] = Step.Rounding(slot: nil, input: key.input, blockLength: key.blockLength)
          readers.formUnion(nodes)
          continue
        }
        let slot = busy.firstIndex { $0 < index } ?? busy.count
        if slot == busy.count { busy.append(last) }
        busy[slot] = last
        makers[index] = Step.Rounding(slot: slot, input: key.input, blockLength: key.blockLength)
        for reader in nodes { takers[reader] = slot }
      }
    }
    slotCount = busy.count
  }

  /// The linear layers that read a value as codes, by the way in which they round it.
  private static func ways(
    _ consumers: [Int], _ value: ValueID, _ graph: Graph, _ weights: PreparedWeights,
    _ activations: [String: InputQuantization], _ options: ExecutionOptions
  ) -> [Key: [Int]] {
    var result: [Key: [Int]] = [:]
    guard !options.simulatesActivations else { return result }
    for index in consumers {
      let node = graph.nodes[index]
      guard projections.contains(node.operation), node.operands[0].value == value else { continue }
      let key = PreparedWeights.key(node.operands[1])
      guard let matrix = weights.matrices[key], let input = activations[key] else { continue }
      switch input.scheme.kind {
      case .int8 where matrix.encoding.isQuantized:
        result[Key(input: input, blockLength: matrix.blockLength), default: []].append(index)
      case .fp8:
        let length = matrix.blockLength > 0 ? matrix.blockLength : 128
        result[Key(input: input, blockLength: length), default: []].append(index)
      default: continue
      }
    }
    return result
  }

  private static func refusal(
    _ node: Node, _ position: Int, _ key: Key, isAlone: Bool, _ options: ExecutionOptions
  ) -> String? {
    guard options.layout.contains(.roundedInputs) else { return "the layout leaves it to the readers" }
    guard norms.contains(node.operation), position == node.results.count - 1 else {
      return "\(node.operation) makes it in parts, and codes need whole rows"
    }
    guard isAlone || key.input.scheme.kind != .fp8 else { return "something else reads it as it is" }
    guard key.input.scheme.outlierThreshold == 0, key.input.outlierColumns.isEmpty else {
      return "outliers are read beside the codes"
    }
    return nil
  }
}
