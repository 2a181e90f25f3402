import Architectures
import Codecs
import Execution
import Glibc
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import TensorCore
import Tokenizers

extension DoctorCheck {
  /// Query and key rows in the order of another format, which only shows when the model runs.
  static let rotaryOrder = DoctorCheck(
    name: "rotary-order", summary: "rows of query and key projections are in the order of this format",
    runsModel: true
  ) { subject, pool in
    guard let model = subject.model, case .checkpoint(let weights) = model.content,
      let tokenizer = model.tokenizer?.tokenizer
    else { return [] }
    let trial = RotaryTrial(model: model, weights: weights, pool: pool)
    guard !trial.projections.isEmpty else { return [] }
    let tokens = Array(
      try tokenizer.encode(RotaryTrial.text, addSpecialTokens: true, parseSpecialTokens: false).prefix(96))
    guard tokens.count > 16, tokens.allSatisfy({ $0 >= 0 && Int($0) < model.summary.sizes.vocabularySize })
    else { return [] }
    let asStored = try trial.loss(of: tokens, order: .asStored)
    let chance = log(Double(model.summary.sizes.vocabularySize))
    var findings: [Finding] = []
    for order in [RotaryTrial.Order.splitFromInterleaved, .interleavedFromSplit] {
      let other = try trial.loss(of: tokens, order: order)
      guard other < asStored - 0.25, other < 0.9 * chance else { continue }
      findings.append(
        Finding(
          .error, check: "rotary-order", subject: trial.projections.keys.first,
          "a plain text costs \(rounded(asStored)) nats a token as stored, and \(rounded(other)) with query and key rows \(order.rawValue)",
          meaning:
            "a converter forgot to reorder these rows, or did it twice: the model reads positions wrong and writes noise",
          remedy: "convert again from the original checkpoint with a converter that knows this architecture"))
    }
    if findings.isEmpty, asStored > chance {
      findings.append(
        Finding(
          .warning, check: "plain-text",
          "a plain English text costs \(rounded(asStored)) nats a token, no less than guessing (\(rounded(chance)))",
          meaning: "the weights are random or damaged, or the tokenizer is that of another model",
          remedy: "compare with the original: adze compare ORIGINAL MODEL --corpus TEXT"))
    }
    return findings
  }

  private static func rounded(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
}

/// Runs a model on a text with the rows of its query and key projections in one order or another.
private struct RotaryTrial {
  enum Order: String {
    case asStored = "as stored"
    case splitFromInterleaved = "taken from interleaved to split order"
    case interleavedFromSplit = "taken from split to interleaved order"
  }

  static let text = """
    The old bridge crosses the river where the road from the hills meets the market town. Every morning the baker \
    carries bread over it in a basket, and in the evening the children come home from school the same way. When the \
    water is high after a week of rain, people stand at the wall and watch the branches drift past. Nobody remembers \
    who built it, but everyone knows that it was here before the church.
    """

  let model: LoadedModel
  let weights: OrderedDictionary<String, Weight>
  let pool: ThreadPool
  /// Head dimension of every weight whose output is rotated, by name.
  let projections: OrderedDictionary<String, Int>

  init(model: LoadedModel, weights: OrderedDictionary<String, Weight>, pool: ThreadPool) {
    self.model = model
    self.weights = weights
    self.pool = pool
    var found: OrderedDictionary<String, Int> = [:]
    let graph = model.graph
    for node in graph.nodes where node.operation == .rope {
      guard case .int(let width) = node.attributes["head_dim"], let input = node.operands.first?.value,
        let producer = graph.producer(of: input), graph.nodes[producer].operation == .linear
      else { continue }
      for name in graph.nodes[producer].constantOperands where weights[name] != nil { found[name] = width }
    }
    projections = found
  }

  /// Mean negative log-likelihood of the text's tokens, in nats.
  func loss(of tokens: [Int32], order: Order) throws -> Double {
    var graph = model.graph
    _ = try PassPipeline.standard.run(&graph)
    let program = try Program(graph: graph, options: ExecutionOptions(chunkLength: tokens.count)) { name in
      guard let weight = weights[name] else {
        throw PipelineError.weight(name, reason: "is not in the checkpoint")
      }
      guard order != .asStored, let width = projections[name] else { return weight }
      return try weight.selecting(rows: Self.rows(count: weight.shape.rows, headDimension: width, order))
    }
    let vocabulary = program.outputColumns[0]
    return try unsafe Session(program: program, pool: pool).forward(tokens, rows: 0..<tokens.count) {
      logits in
      var sum = 0.0
      for position in 0..<tokens.count - 1 {
        let row = unsafe UnsafeBufferPointer(
          rebasing: logits[position * vocabulary..<(position + 1) * vocabulary])
        let highest = unsafe row.max() ?? 0
        let total = unsafe row.reduce(0.0) { $0 + exp(Double($1 - highest)) }
        sum += log(total) - Double(unsafe row[Int(tokens[position + 1])] - highest)
      }
      return sum / Double(tokens.count - 1)
    }
  }

  private static func rows(count: Int, headDimension: Int, _ order: Order) -> [Int] {
    let half = headDimension / 2
    return (0..<count).map { row in
      let (head, place) = (row / headDimension, row % headDimension)
      let source =
        order == .interleavedFromSplit ? place % 2 * half + place / 2 : place % half * 2 + place / half
      return head * headDimension + source
    }
  }
}
