import Execution
import GraphIR
import OrderedCollections

/// An estimate of how long a graph runs, from what its operations read, write and multiply: what a pass is worth before anybody
/// measures it. `adze bench --ablate` measures.
///
/// The machine is one of two cores as they are common: what it does in a second is in the constants. Only differences between
/// graphs of one model mean something.
public struct GraphCost: Sendable, Equatable {
  /// Seconds of one token alone.
  public private(set) var tokenSeconds = 0.0
  /// Seconds of a prompt of ``promptLength`` tokens, for each token.
  public private(set) var promptSeconds = 0.0

  /// Tokens of the prompt.
  public static let promptLength = 512

  /// Bytes of weights a second.
  private static let weightBandwidth = 35e9
  /// Bytes of activations a second, from caches.
  private static let activationBandwidth = 40e9
  /// Operations (two for each product) a second, on floats and on integer codes.
  private static let floatRate = 200e9
  private static let integerRate = 650e9
  /// Seconds to begin an operation, and to bring the threads together for one.
  private static let stepSeconds = 0.3e-6
  private static let threadSeconds = 1e-6
  /// Tokens in the cache that attention of one token meets.
  private static let depth = 128

  /// The cost of a graph; encodings that are not known count as float32.
  init(_ graph: Graph) {
    let uses = graph.uses
    for node in graph.nodes where node.operation != .slice {
      tokenSeconds += Self.seconds(node, graph, tokens: 1)
      // What nobody reads behind the last attention is not computed; the rest is for all tokens.
      let isLogits = node.results.contains(where: uses.isOutput)
      let tokens = isLogits ? 1 : Self.promptLength
      promptSeconds += Self.seconds(node, graph, tokens: tokens) / Double(Self.promptLength)
    }
  }

  private static func seconds(_ node: Node, _ graph: Graph, tokens: Int) -> Double {
    let weights = weightSeconds(node, graph, tokens: tokens)
    var moved = Double(GraphMeasure.movedByteCount(of: node, graph) * tokens)
    if isProduct(node), isInteger(node, graph), let input = node.operands.first?.value {
      // Rounding reads the input once more.
      moved += Double((graph.type(of: input).columns ?? 0) * 4 * tokens)
    }
    let isThreaded = isProduct(node) || isAttention(node) || moved > 65_536
    return weights + attentionSeconds(node, tokens: tokens) + moved / activationBandwidth + stepSeconds
      + (isThreaded ? threadSeconds : 0)
  }

  private static func isProduct(_ node: Node) -> Bool {
    [.linear, .linearActivation, .linearGated, .expertLinear, .expertGated].contains(node.operation)
  }

  private static func isAttention(_ node: Node) -> Bool {
    [.attention, .rotaryAttention].contains(node.operation)
  }

  private static func isInteger(_ node: Node, _ graph: Graph) -> Bool {
    let encodings = node.constantOperands.prefix(1).compactMap { graph.constants[$0]?.encoding }
    return encodings.contains { !["f32", "bf16", "f16", "f64"].contains($0) }
  }

  /// Reading weights or multiplying with them, whichever takes longer.
  private static func weightSeconds(_ node: Node, _ graph: Graph, tokens: Int) -> Double {
    guard isProduct(node) else { return 0 }
    var bytes = 0.0
    var products = 0.0
    for name in node.constantOperands {
      guard let type = graph.constants[name], type.dimensions.count == 2 else { continue }
      let count = type.dimensions.reduce(1, *)
      bytes += Double(GraphMeasure.byteCount(type) ?? count * 4)
      products += Double(count)
    }
    if let chosen = try? node.integer("chosen"), let routing = node.operands.dropFirst().first?.value,
      let experts = graph.type(of: routing).columns, experts > 0
    {
      bytes *= Double(min(chosen * tokens, experts)) / Double(experts)
      products *= Double(chosen) / Double(experts)
    }
    let rate = isInteger(node, graph) ? integerRate : floatRate
    return max(bytes / weightBandwidth, 2 * products * Double(tokens) / rate)
  }

  private static func attentionSeconds(_ node: Node, tokens: Int) -> Double {
    guard isAttention(node), let heads = try? node.integer("heads"), let width = try? node.integer("head_dim")
    else { return 0 }
    let keys = tokens == 1 ? depth : tokens / 2
    return Double(4 * heads * width * keys * tokens) / floatRate
  }
}
