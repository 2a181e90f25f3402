import Calibration
import Codecs
import Glibc
import GraphIR
import OrderedCollections
import Pipeline
import Quantization
import SafeIO
import TensorCore
import TestSupport
import Testing

/// Experts that see few tokens borrow those that the router would send them next, for statistics only.
@Suite(.serialized) struct ExpertCalibrationTests {
  static let folder = SharedData.projectRoot + "/Tests/ArchitecturesTests/Goldens/"
  static let minimum = 80
  static let models = ["qwen2-moe", "qwen3-moe-mixed"]

  private func windows() -> CalibrationWindows {
    var generator = SeededGenerator(seed: 5)
    return CalibrationWindows(
      windows: (0..<4).map { _ in (0..<24).map { _ in Int32.random(in: 2..<200, using: &generator) } })
  }

  private func statistics(
    _ model: LoadedModel, minimum: Int, of corpus: String? = nil
  ) throws -> StatisticsFile {
    try CalibrationStage(model: model, pool: TestModels.pool).run(
      windows: windows(), of: corpus, withSecondMoments: true, minimumExpertTokens: minimum)
  }

  @Test(arguments: models) func onlyStarvedExpertsSeeMore(name: String) throws {
    let model = try ModelFormats.load(Self.folder + name)
    let plain = try statistics(model, minimum: 0)
    let fed = try statistics(model, minimum: Self.minimum)
    let expertWeights = Set(model.graph.linearNodes.filter { $0.experts != nil }.flatMap(\.weights))
    var starved = 0
    for weight in plain.groupOfWeight.keys {
      let before = try #require(try plain.statistics(for: weight))
      let after = try #require(try fed.statistics(for: weight))
      if expertWeights.contains(weight), before.tokenCount < Self.minimum {
        starved += 1
        #expect(after.tokenCount == Self.minimum, "\(weight)")
        #expect(after.borrowedTokenCount == Self.minimum - before.tokenCount, "\(weight)")
        #expect(after.squareSums != before.squareSums && after.secondMomentSum != before.secondMomentSum)
      } else {
        #expect(after == before, "\(weight) changed, though it needs no tokens")
      }
    }
    #expect(starved > 0 && starved.isMultiple(of: 3), "gate, up and down of an expert starve together")
    let coverage = try fed.expertCoverage(of: model.graph)
    #expect(coverage.flatMap { $0.starved(below: Self.minimum) }.count == starved / 3)
    #expect(coverage.allSatisfy { $0.stillStarved(below: Self.minimum).isEmpty })
    let unchanged = try plain.expertCoverage(of: model.graph)
    #expect(coverage.map(\.routed) == unchanged.map(\.routed))
    #expect(unchanged.allSatisfy { $0.borrowed.allSatisfy { $0 == 0 } })
  }

  /// Routers stay as they are unless they are asked for.
  @Test(arguments: models) func routersAreNotQuantizedUnlessNamed(name: String) throws {
    let graph = try ModelFormats.load(Self.folder + name).graph
    let routes = graph.nodes.count { $0.operation == .route }
    #expect(routes > 0 && graph.routers.count == routes)
    let codec = try IntegerGroupCodec(bits: 4, groupSize: 16)
    let all = try QuantizationRecipe(methodName: "rtn", codec: codec).selectedWeights(in: graph)
    #expect(graph.routers.isDisjoint(with: all) && !all.isEmpty)
    let named = try QuantizationRecipe(methodName: "rtn", codec: codec, targets: [#"\.gate\.weight$"#])
      .selectedWeights(in: graph)
    #expect(Set(named) == graph.routers)
  }

  /// Tokens are counted, ranked and computed again by plain loops over what the interpreter says.
  @Test(arguments: models) func borrowedTokensAreThoseOfTheHighestScores(name: String) throws {
    let model = try ModelFormats.load(Self.folder + name)
    let weights = try model.requireCheckpoint()
    let gates = model.graph.linearNodes.filter {
      $0.experts != nil && $0.weights[0].hasSuffix("gate_proj.weight")
    }
    let node = try #require(gates.first)
    let reference = try Reference(node, model, windows())
    var seen: [String: InputStatistics] = [:]
    // With experts as the only targets, nothing before them is kept in bfloat16.
    try SequentialCalibration(
      graph: model.graph, windows: windows(), targets: Set(node.weights + reference.downs),
      collection: .moments, minimumExpertTokens: Self.minimum, pool: TestModels.pool
    ).run(
      weight: { name in try #require(weights[name]) },
      quantize: { group, observed in
        for name in group.weights { seen[name] = try observed.total() }
        return [:]
      })
    for expert in node.weights.indices {
      let inputs = reference.tokens(of: expert, minimum: Self.minimum).map { reference.rows[$0] }
      let products = try inputs.map { try reference.product($0, expert: expert) }
      try expectSquares(of: inputs, in: try #require(seen[node.weights[expert]]), node.weights[expert])
      try expectSquares(
        of: products, in: try #require(seen[reference.downs[expert]]), reference.downs[expert])
    }
  }

  private func expectSquares(of rows: [[Float]], in seen: InputStatistics, _ name: String) throws {
    #expect(seen.tokenCount == rows.count, "\(name)")
    for column in 0..<seen.columns {
      let sum = rows.reduce(0.0) { $0 + Double($1[column]) * Double($1[column]) }
      #expect(abs(seen.squareSums[column] - sum) <= 2e-4 * sum + 1e-9, "\(name) column \(column)")
    }
  }

  @Test func moreThanThereIsLeavesExpertsBelow() throws {
    let model = try ModelFormats.load(Self.folder + "qwen2-moe")
    let fed = try statistics(model, minimum: 1000)
    for layer in try fed.expertCoverage(of: model.graph) {
      #expect(layer.stillStarved(below: 1000).count == 5)
      #expect(zip(layer.routed, layer.borrowed).allSatisfy { $0 + $1 == 4 * 24 })
    }
  }

  @Test func statisticsKeepTheCountsInTheirFile() throws {
    let model = try ModelFormats.load(Self.folder + "qwen2-moe")
    let fed = try statistics(model, minimum: Self.minimum)
    let directory = TemporaryDirectory()
    try fed.write(to: directory.file("statistics"))
    let read = try StatisticsFile(path: directory.file("statistics"))
    let coverage = try read.expertCoverage(of: model.graph)
    #expect(try coverage == fed.expertCoverage(of: model.graph))
    let other = try statistics(model, minimum: Self.minimum, of: "the same text under another name")
    let twice = try read.merged(with: other).expertCoverage(of: model.graph)
    #expect(twice.map(\.borrowed) == coverage.map { $0.borrowed.map { 2 * $0 } })
  }

  /// Quantizing layer by layer, with all experts, or with the last projections alone, whose inputs borrowed tokens have to be
  /// computed for.
  @Test(arguments: [[], [#"experts\.\d+\.down_proj"#], [#"experts\.\d+\.(up|down)_proj"#]])
  func quantizingReportsBeforeAndAfter(targets: [String]) throws {
    let model = try ModelFormats.load(Self.folder + "qwen2-moe")
    var recipe = try TestModels.recipe("gptq", "int8", group: 8, targets: targets, fallback: 1)
    let plain = try TestModels.quantized(model, recipe, .windows(windows()))
    recipe.minimumExpertTokens = Self.minimum
    let fed = try TestModels.quantized(model, recipe, .windows(windows()))
    #expect(plain.experts.first?.routed == fed.experts.first?.routed)
    #expect(fed.reports.map(\.layer) == plain.reports.map(\.layer))
    let first = fed.reports.filter { $0.layer.contains("layers.0.") && $0.layer.contains(".experts.") }
    #expect(first.allSatisfy { $0.tokenCount >= Self.minimum })
    #expect(first.contains { $0.tokenCount == Self.minimum })
    for (a, b) in zip(plain.reports, fed.reports) where a.layer.contains("layers.0.") {
      if a.tokenCount == b.tokenCount { #expect(a == b, "\(a.layer)") } else { #expect(a != b) }
    }
    let report = try #require(fed.reportJSON["experts"])
    #expect(report["minimum_tokens"]?.intValue == Self.minimum)
    #expect(try #require(report["below_minimum"]?.intValue) > 0)
    #expect(report["below_minimum_with_borrowed"]?.intValue == 0)
    #expect(report["layers"]?.arrayValue?.count == 2)
    #expect(fed.recipe.json["min_expert_tokens"]?.intValue == Self.minimum)
  }

  /// What the interpreter and plain loops say of the first projection of a layer's experts.
  struct Reference {
    var rows: [[Float]] = []
    private var routing: [[Float]] = []
    private var scores: [[Double]] = []
    private let gates: [FloatMatrix]
    private let ups: [FloatMatrix]
    let downs: [String]

    init(_ node: LinearNode, _ model: LoadedModel, _ windows: CalibrationWindows) throws {
      let graph = model.graph
      let choice = try #require(node.experts)
      let router = try #require(graph.producer(of: choice.routing))
      let logits = try #require(graph.nodes[router].operands[0].value)
      let part = try graph.subgraph(inputs: [], outputs: [node.input, choice.routing, logits])
      let weights = try model.requireCheckpoint()
      func matrix(_ name: String) throws -> FloatMatrix { try #require(weights[name]).decoded() }
      gates = try node.weights.map(matrix)
      ups = try node.weights.map { try matrix($0.replacing("gate_proj", with: "up_proj")) }
      downs = node.weights.map { $0.replacing("gate_proj", with: "down_proj") }
      for window in windows.windows {
        let shape = try Shape([window.count])
        let values = try Interpreter.run(
          part,
          inputs: [
            "tokens": Tensor(window, shape: shape),
            "positions": Tensor(window.indices.map { Int32($0) }, shape: shape),
          ]
        ) { name in
          guard case .dense(let tensor)? = weights[name] else { throw Cancelled() }
          return tensor
        }
        func split(_ tensor: Tensor) throws -> [[Float]] {
          let (floats, columns) = (try tensor.floats(), tensor.shape.columns)
          return window.indices.map { Array(floats[$0 * columns..<($0 + 1) * columns]) }
        }
        rows += try split(values[0])
        routing += try split(values[1])
        scores += try split(values[2]).map { row in
          let total = row.reduce(0.0) { $0 + exp(Double($1)) }
          return row.map { exp(Double($0)) / total }
        }
      }
    }

    struct Cancelled: Error {}

    /// The tokens of an expert, and as many others with the highest scores as it needs.
    func tokens(of expert: Int, minimum: Int) -> [Int] {
      let own = rows.indices.filter { routing[$0][expert] != 0 }
      let others = rows.indices.filter { routing[$0][expert] == 0 }
        .sorted { scores[$0][expert] > scores[$1][expert] }
      return own + others.prefix(max(minimum - own.count, 0))
    }

    /// silu(gate x) * up x.
    func product(_ x: [Float], expert: Int) throws -> [Float] {
      func dot(_ matrix: FloatMatrix, _ row: Int) -> Double {
        x.indices.reduce(0.0) { $0 + Double(matrix[row, $1]) * Double(x[$1]) }
      }
      return (0..<gates[expert].rows).map { row in
        let gate = dot(gates[expert], row)
        return Float(gate / (1 + exp(-gate)) * dot(ups[expert], row))
      }
    }
  }
}
