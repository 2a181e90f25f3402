/// A repeated part of the model, such as `layers.3`: the unit of calibration and quantization.
public struct GraphBlock: Sendable, Equatable {
  /// Its scope, such as `layers.3`.
  public let scope: String
  /// Where its nodes stand.
  public let nodes: Range<Int>
  /// Values made before the block that it, or anything after it, still needs: what crosses into it. Graph inputs are
  /// not among them.
  public let inputs: [ValueID]
  /// Values made in or before the block that are needed after it.
  public let outputs: [ValueID]
}

/// A projection of the graph.
public struct LinearNode: Sendable, Equatable {
  /// Where the node stands.
  public let index: Int
  /// Its scope.
  public let scope: String
  /// Names of the weights, whose rows follow one another; one for an unfused projection.
  public let weights: [String]
  /// Names of the biases, empty or as many as weights.
  public let biases: [String]
  /// What is projected.
  public let input: ValueID
  /// The result.
  public let output: ValueID
  /// How tokens choose among the weights when these are experts; nil when every token goes to all.
  public var experts: ExpertChoice?
}

/// How tokens choose among the weights of a projection by experts.
public struct ExpertChoice: Sendable, Equatable {
  /// The weights of the experts for each token, 0 for those that it does not go to.
  public let routing: ValueID
  /// Most experts of a token.
  public let chosen: Int
}

extension Graph {
  /// The blocks in order: maximal runs of nodes below the same numbered scope (`layers.0`, `layers.1`, ...).
  ///
  /// Nodes before the first block, between blocks and after the last one belong to none.
  public var blocks: [GraphBlock] {
    var runs: [(scope: String, nodes: Range<Int>)] = []
    var known: (scope: String, block: String?) = ("", nil)
    for (index, node) in nodes.enumerated() {
      if node.scope != known.scope { known = (node.scope, TextForm.numberedPrefix(of: node.scope)) }
      guard let scope = known.block else { continue }
      if let last = runs.last, last.scope == scope, last.nodes.upperBound == index {
        runs[runs.count - 1].nodes = last.nodes.lowerBound..<index + 1
      } else {
        runs.append((scope, index..<index + 1))
      }
    }
    let boundaries = Set(runs.flatMap { [$0.nodes.lowerBound, $0.nodes.upperBound] })
    let crossing = valuesCrossing(boundaries)
    return runs.map { run in
      GraphBlock(
        scope: run.scope, nodes: run.nodes, inputs: crossing[run.nodes.lowerBound] ?? [],
        outputs: crossing[run.nodes.upperBound] ?? [])
    }
  }

  /// For each boundary (before the node with that index), the values made before and needed after it.
  private func valuesCrossing(_ boundaries: Set<Int>) -> [Int: [ValueID]] {
    let table = uses
    var crossing: [Int: [ValueID]] = [:]
    var live: Set<ValueID> = []
    var dying: [Int: [ValueID]] = [:]
    for index in 0...nodes.count {
      if boundaries.contains(index) { crossing[index] = live.sorted() }
      guard index < nodes.count else { break }
      for result in nodes[index].results {
        guard let last = table.lastUse(of: result) else { continue }
        live.insert(result)
        dying[last, default: []].append(result)
      }
      for value in dying.removeValue(forKey: index) ?? [] { live.remove(value) }
    }
    return crossing
  }

  /// Every projection in order, those by experts too; the weights of an expert have the same rows and columns as those of
  /// the others.
  public var linearNodes: [LinearNode] {
    nodes.enumerated().compactMap { index, node in
      switch node.operation {
      case .linear: linear(node, at: index)
      case .expertLinear: expertLinear(node, at: index)
      default: nil
      }
    }
  }

  /// Weights of the projections that score experts. They are small, and an error there sends tokens elsewhere.
  public var routers: Set<String> {
    let scores = Set(nodes.filter { $0.operation == .route }.flatMap { $0.operands.compactMap(\.value) })
    return Set(linearNodes.filter { scores.contains($0.output) }.flatMap(\.weights))
  }

  private func linear(_ node: Node, at index: Int) -> LinearNode? {
    guard node.operands.count >= 2, let input = node.operands[0].value, let output = node.results.first
    else { return nil }
    return LinearNode(
      index: index, scope: node.scope, weights: node.operands[1].constants,
      biases: node.operands.count > 2 ? node.operands[2].constants : [], input: input, output: output)
  }

  private func expertLinear(_ node: Node, at index: Int) -> LinearNode? {
    guard node.operands.count == 3, let input = node.operands[0].value, let output = node.results.first,
      let routing = node.operands[1].value, let chosen = try? node.integer("chosen")
    else { return nil }
    return LinearNode(
      index: index, scope: node.scope, weights: node.operands[2].constants, biases: [], input: input,
      output: output, experts: ExpertChoice(routing: routing, chosen: chosen))
  }
}
