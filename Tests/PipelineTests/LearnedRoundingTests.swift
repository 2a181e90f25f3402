import Architectures
import Calibration
import Codecs
import Differentiation
import Glibc
import GraphIR
import GraphPasses
import OrderedCollections
import Pipeline
import Quantization
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite(.serialized) struct LearnedRoundingTests {
  let directory = TemporaryDirectory()
  let output = TemporaryDirectory()
  let tiny: LoadedModel
  static let learning = LearnedRounding(iterations: 40, batch: 2, reach: 0.5, scaleReach: 0.05)

  struct Stop: Error {}

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func recipe(
    _ method: String = "gptq", _ codec: String = "int2", group: Int = 32, symmetric: Bool = true,
    learning: LearnedRounding? = learning, targets: [String] = []
  ) throws -> QuantizationRecipe {
    var recipe = try TestModels.recipe(
      method, codec, group: group, symmetric: symmetric, targets: targets,
      options: method == "gptq" ? ["asymmetry": "0", "refine": "0"] : [:])
    recipe.learnedRounding = learning
    return recipe
  }

  private func bytes(_ model: QuantizedModel, _ name: String) throws -> [UInt8] {
    let path = output.file(name)
    try ModelContainers.container(named: "adze", output: path).write(model, to: path)
    return try TestModels.bytes(path)
  }

  private var windows: CalibrationSource { .windows(TestModels.tinyWindows()) }

  /// Mean square of the difference of logits from those of the unquantized model, on tokens that nothing learned from.
  private func damage(_ model: QuantizedModel) throws -> Double {
    let path = output.file("damage.adze")
    try ModelContainers.container(named: "adze", output: path).write(model, to: path)
    let loaded = try ModelFormats.load(path)
    let (found, expected) = (try TestModels.logits(loaded), try TestModels.logits(tiny))
    return zip(found, expected).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
      / Double(found.count)
  }

  /// Mean KL divergence of predictions from those of the unquantized model, on tokens that nothing learned from.
  private func divergence(_ model: QuantizedModel) throws -> Double {
    var generator = SplitMix64(seed: 77)
    let size = Int32(tiny.summary.sizes.vocabularySize)
    return try divergence(model, (0..<48).map { _ in Int32.random(in: 0..<size, using: &generator) })
  }

  private func divergence(_ model: QuantizedModel, _ tokens: [Int32]) throws -> Double {
    let path = output.file("divergence.adze")
    try ModelContainers.container(named: "adze", output: path).write(model, to: path)
    let loaded = try ModelFormats.load(path)
    let size = tiny.summary.sizes.vocabularySize
    let (found, expected) = (try TestModels.logits(loaded, tokens), try TestModels.logits(tiny, tokens))
    func logProbabilities(_ logits: [Float], _ row: Int) -> [Double] {
      let values = logits[row * size..<(row + 1) * size].map(Double.init)
      let total = log(values.reduce(0) { $0 + exp($1) })
      return values.map { $0 - total }
    }
    let sums = tokens.indices.map { row in
      zip(logProbabilities(expected, row), logProbabilities(found, row)).reduce(0.0) {
        $0 + exp($1.0) * ($1.0 - $1.1)
      }
    }
    return sums.reduce(0, +) / Double(tokens.count)
  }

  @Test(arguments: ["rtn", "gptq"], ["int2", "int3", "int4"])
  func theLossFallsInEveryBlock(method: String, codec: String) throws {
    for symmetric in [true, false] {
      let plain = try TestModels.quantized(
        tiny, recipe(method, codec, symmetric: symmetric, learning: nil), windows)
      let learned = try TestModels.quantized(tiny, recipe(method, codec, symmetric: symmetric), windows)
      #expect(plain.blockReports.isEmpty)
      #expect(
        learned.blockReports.map(\.block)
          == ["model.layers.0", "model.layers.1"].map { $0.replacing("model.", with: "") })
      for report in learned.blockReports {
        #expect(report.lossAfter < report.lossBefore, "\(method) \(codec) \(report)")
        #expect(!report.keptStart && report.changedCodes > 0 && report.layers.count == 7)
      }
      #expect(learned.reports.allSatisfy { $0.method == method + ",learned-rounding" })
      #expect(learned.bitsPerWeight == plain.bitsPerWeight)
      for (name, weight) in learned.weights where !learned.quantizedNames.contains(name) {
        #expect(try weight.decoded().values == plain.weights[name]?.decoded().values, "\(name) was changed")
      }
    }
  }

  /// Two bits are where it pays: much less damage than GPTQ alone, on tokens that were not learned from. Whatever the order of
  /// windows: what a few of them leave to chance is a tenth of the damage.
  @Test func twoBitsGetMuchBetterThanByGPTQ() throws {
    let plain = try damage(TestModels.quantized(tiny, recipe(learning: nil), windows))
    var more = Self.learning
    more.iterations = 100
    more.modelIterations = 80
    for seed in UInt64(0)..<4 {
      more.seed = seed
      let learned = try damage(TestModels.quantized(tiny, recipe(learning: more), windows))
      #expect(learned < 0.8 * plain, "\(learned) after \(plain), seed \(seed)")
    }
  }

  /// Scales of the whole model, and codes if they may: the divergence falls, and the bytes are the same for any number of threads.
  @Test(arguments: [0, 0.2])
  func scalesAndCodesFollowThePredictionsOfTheWholeModel(reach: Double) throws {
    var learning = Self.learning
    learning.iterations = 4
    let blocks = try TestModels.quantized(tiny, recipe(learning: learning), windows)
    learning.modelIterations = 24
    learning.modelReach = reach
    let model = try TestModels.quantized(tiny, recipe(learning: learning), windows)
    let report = try #require(model.blockReports.last)
    #expect(report.block == "model" && !report.keptStart && report.layers.count == 14)
    #expect(report.lossAfter < 0.95 * report.lossBefore, "\(report)")
    let (before, after) = (try divergence(blocks), try divergence(model))
    #expect(after < before, "\(after) after \(before)")
    let codec = try #require(model.recipe.codec as? IntegerGroupCodec)
    var changed = 0
    for name in model.quantizedNames {
      guard case .encoded(let before)? = blocks.weights[name], case .encoded(let after)? = model.weights[name]
      else {
        Issue.record("\(name) was not quantized")
        continue
      }
      changed += zip(
        codec.unpacked(before, rows: 0..<before.rows).codes, codec.unpacked(after, rows: 0..<after.rows).codes
      ).count { $0 != $1 }
    }
    #expect(changed == report.changedCodes && (changed > 0) == (reach > 0))
    let alone = try TestModels.quantized(
      tiny, recipe(learning: learning), windows, pool: TestModels.singlePool)
    #expect(try bytes(alone, "alone.adze") == bytes(model, "together.adze"))
  }

  /// Windows that the model writes are learned from, by the whole model's steps alone, and are the same for any number of threads.
  @Test func theWholeModelLearnsFromWhatTheModelWrites() throws {
    var learning = Self.learning
    learning.iterations = 4
    learning.modelIterations = 12
    let without = try TestModels.quantized(tiny, recipe(learning: learning), windows)
    learning.modelSelfGenerated = 6
    var steps: [String] = []
    let with = try QuantizationStage(model: tiny, recipe: recipe(learning: learning), pool: TestModels.pool)
      .run(
        calibration: windows
      ) { if steps.last != $0.step { steps.append($0.step) } }
    #expect(steps == ["weights", SelfGeneratedText.name, LearnedRounding.name])
    #expect(with.blockReports.dropLast() == without.blockReports.dropLast())
    #expect(
      with.blockReports.last?.lossBefore == without.blockReports.last?.lossBefore, "judged by other windows")
    #expect(try TestModels.decoded(with.weights) != TestModels.decoded(without.weights))
    let alone = try TestModels.quantized(
      tiny, recipe(learning: learning), windows, pool: TestModels.singlePool)
    #expect(try bytes(alone, "alone.adze") == bytes(with, "together.adze"))
  }

  /// Codes go to their neighbors, and further only where the reach is longer than what lies between.
  @Test(arguments: [(0.5, 1...1), (4, 2...5)])
  func codesMoveNoFurtherThanTheReachAllows(reach: Double, furthest: ClosedRange<Int>) throws {
    var learning = Self.learning
    learning.reach = reach
    let codec = "int4"
    let plain = try TestModels.quantized(tiny, recipe("gptq", codec, learning: nil), windows)
    let learned = try TestModels.quantized(tiny, recipe("gptq", codec, learning: learning), windows)
    var found = 0
    for name in learned.quantizedNames {
      guard case .encoded(let before)? = plain.weights[name],
        case .encoded(let after)? = learned.weights[name],
        let grid = before.codec as? IntegerGroupCodec
      else {
        Issue.record("\(name) was not quantized")
        continue
      }
      let codes = [before, after].map { grid.unpacked($0, rows: 0..<$0.rows).codes }
      found = max(found, zip(codes[0], codes[1]).map { abs(Int($0) - Int($1)) }.max() ?? 0)
    }
    #expect(furthest.contains(found), "\(found)")
  }

  /// A transform may change the graph; what learns runs the graph that it made. The divergence that it begins with is that of the
  /// quantized model.
  @Test(arguments: [true, false]) func turnedInputsAreTurnedWhereItLearns(turns: Bool) throws {
    var still = Self.learning
    (still.reach, still.scaleReach, still.modelReach, still.modelScaleReach) = (0, 0, 0, 0)
    (still.iterations, still.modelIterations) = (1, 1)
    var recipes = try [nil, still].map { try recipe(learning: $0) }
    if turns {
      for index in recipes.indices {
        recipes[index].transforms = [.init(name: "rotation", options: ["inputs": "always"])]
      }
    }
    let models = try recipes.map { try TestModels.quantized(tiny, $0, windows) }
    #expect(models[1].source.graph.turnsInputs == turns)
    let report = try #require(models[1].blockReports.last)
    let texts = TestModels.tinyWindows().windows
    let expected = try texts.reduce(0.0) { try $0 + divergence(models[0], $1) } / Double(texts.count)
    #expect(abs(report.lossBefore / expected - 1) < 0.01, "\(report.lossBefore) beside \(expected)")
  }

  /// What states behind blocks count for is seen in them: here beside hardly anything else.
  @Test func statesBehindBlocksAreLearned() throws {
    let states = tiny.graph.passedStates
    #expect(states.count == 2, "one behind each of two blocks")
    var learning = Self.learning
    learning.iterations = 4
    learning.modelIterations = 24
    let errors = try [0, 1_000].map { weight in
      learning.modelStateWeight = weight
      let model = try TestModels.quantized(tiny, recipe(learning: learning), windows)
      let report = try #require(model.blockReports.last)
      #expect(!report.keptStart && report.lossAfter < report.lossBefore)
      return try stateError(model)
    }
    #expect(errors[1] < 0.98 * errors[0], "\(errors)")
  }

  /// Relative squared error of what blocks pass on, over the windows that were learned from.
  private func stateError(_ model: QuantizedModel) throws -> Double {
    var graph = tiny.graph
    graph.outputs = graph.passedStates
    let original = try tiny.requireCheckpoint()
    func states(_ weights: (String) -> Weight?) throws -> [FloatMatrix] {
      let program = try DifferentiableGraph(graph: graph, trained: []) { name in
        try #require(weights(name)).decoded().values
      }
      return try TestModels.tinyWindows().windows.flatMap {
        try program.run(tokens: $0, keeping: false).outputs
      }
    }
    let expected = try states { original[$0] }
    return zip(try states { model.weights[$0] }, expected).reduce(0.0) {
      $0 + RelativeError.sum($1.0, $1.1)
    }
  }

  @Test func bytesDependOnNeitherThreadsNorRunsButOnTheSeed() throws {
    let files = try [TestModels.pool, TestModels.singlePool, TestModels.pool].enumerated().map {
      number, pool in
      try bytes(TestModels.quantized(tiny, recipe(), windows, pool: pool), "\(number).adze")
    }
    #expect(files[0] == files[1], "threads")
    #expect(files[0] == files[2], "runs")
    var other = Self.learning
    other.seed = 1
    #expect(try bytes(TestModels.quantized(tiny, recipe(learning: other), windows), "seed.adze") != files[0])
  }

  /// With nothing to gain a block keeps its start, which is said.
  @Test func aBlockThatDoesNotGetBetterKeepsItsStart() throws {
    let wild = LearnedRounding(iterations: 3, batch: 1, reach: 8, scaleReach: 0.9)
    let plain = try TestModels.quantized(tiny, recipe("gptq", "int8", learning: nil), windows)
    let learned = try TestModels.quantized(tiny, recipe("gptq", "int8", learning: wild), windows)
    for report in learned.blockReports {
      #expect(report.keptStart && report.changedCodes == 0 && report.lossAfter == report.lossBefore)
    }
    #expect(learned.reports.allSatisfy { $0.method == "gptq" })
    #expect(try TestModels.decoded(learned.weights) == TestModels.decoded(plain.weights))
  }

  /// Targets without bounds, so gradients without: what is learned from them is nothing, and not a trap.
  @Test(arguments: [Float.infinity, -.infinity, .nan])
  func gradientsThatOverflowMoveNothing(target: Float) throws {
    let graph = try GraphIR.Graph(
      parsing:
        "graph @block (x: f32[T, 32]) {\n  constants { @w: f32[4, 32] }\n  %y = linear %x, @w : f32[T, 4]\n  return %y\n}\n"
    )
    var generator = SplitMix64(seed: 5)
    func random(_ rows: Int) throws -> FloatMatrix {
      try FloatMatrix(
        rows: rows, columns: 32,
        values: (0..<rows * 32).map { _ in Float.random(in: -1...1, using: &generator) })
    }
    let weights = try random(4)
    let codec = try CodecRegistry.codec(named: "int2", CodecParameters(groupSize: 32))
    let start = try codec.encode(weights, importance: nil, search: .extremes)
    let example = BlockLearning.Example(
      tokens: [1, 2, 3], inputs: ["x": try random(3)],
      targets: [try FloatMatrix(rows: 3, columns: 4, values: Array(repeating: target, count: 12))])
    let (found, report) = try BlockLearning(
      method: LearnedRounding(iterations: 6, reach: 8, scaleReach: 0.9), pool: TestModels.pool
    ).learn(
      block: "block", graph: graph, original: { _ in weights }, matrices: ["w": start], constant: { _ in [] },
      examples: [example], division: LearningWindows(learned: nil, of: 1))
    #expect(report.keptStart && report.changedCodes == 0)
    #expect(found["w"]?.decoded().values == start.decoded().values)
  }

  @Test func blocksWithoutTargetsAreLeftAlone() throws {
    let result = try TestModels.quantized(tiny, recipe(targets: ["layers\\.1\\.mlp"]), windows)
    #expect(result.blockReports.map(\.layers.count) == [3])
  }

  @Test func anInterruptedRunGoesOn() throws {
    let stage = QuantizationStage(model: tiny, recipe: try recipe(), pool: TestModels.pool)
    let whole = try stage.run(calibration: windows)
    let expected = try bytes(whole, "whole.adze")
    let path = output.file("x.adze.journal")
    var result: QuantizedModel?
    var allowed = 45
    var stops = 0
    while result == nil {
      allowed += 15
      let journal = try stage.journal(at: path, calibration: windows)
      var reported = 0
      do {
        result = try stage.run(calibration: windows, journal: journal) { _ in
          reported += 1
          if reported > allowed { throw Stop() }
        }
        journal.remove()
      } catch is Stop { stops += 1 }
    }
    let resumed = try #require(result)
    #expect(stops > 2)
    #expect(resumed.blockReports == whole.blockReports && resumed.reports == whole.reports)
    #expect(try bytes(resumed, "resumed.adze") == expected)
  }

  /// Windows that are left over judge: what is learned from few must hold on others, or the start stays.
  @Test func fewWindowsAreJudgedByOthers() throws {
    var some = Self.learning
    some.windows = TestModels.tinyWindows().windows.count / 2
    let few = try TestModels.quantized(tiny, recipe(learning: some), windows)
    let all = try TestModels.quantized(tiny, recipe(), windows)
    #expect(try bytes(few, "few.adze") != bytes(all, "all.adze"), "the choice must matter")
    for (report, other) in zip(few.blockReports, all.blockReports) {
      #expect(report.lossBefore != other.lossBefore, "judged by the same windows")
      #expect(report.keptStart || report.lossAfter < report.lossBefore)
    }
    // One window, far too many steps: it is fitted, and the others say no.
    some.windows = 1
    some.reach = 16
    some.scaleReach = 1
    let fitted = try TestModels.quantized(tiny, recipe(learning: some), windows)
    #expect(fitted.blockReports.contains { $0.keptStart && $0.changedCodes == 0 })
  }

  /// Nothing comes from windows that judge, and what the model writes goes on from none of them.
  @Test func whatJudgesIsNotLearnedFrom() throws {
    var learning = Self.learning
    (learning.windows, learning.iterations, learning.reach, learning.scaleReach) = (1, 8, 0.1, 0.01)
    (learning.modelIterations, learning.modelReach, learning.modelScaleReach) = (8, 0.1, 0.01)
    learning.modelSelfGenerated = 6
    let text = TestModels.tinyWindows().windows
    let other = [text[0]] + text.dropFirst().map { $0.map { ($0 * 5 + 1) % 48 } }
    let models = try [text, other].map {
      try TestModels.quantized(
        tiny, recipe("rtn", learning: learning), .windows(CalibrationWindows(windows: $0)))
    }
    for (report, changed) in zip(models[0].blockReports, models[1].blockReports) {
      #expect(!report.keptStart && !changed.keptStart)
      #expect(report.lossBefore != changed.lossBefore, "judged by the same windows")
    }
    #expect(try TestModels.decoded(models[0].weights) == TestModels.decoded(models[1].weights))
  }

  @Test(
    "windows that are learned from and those that judge",
    arguments: [(4, 10), (1, 128), (90, 128), (127, 128)])
  func divisions(learned: Int, count: Int) {
    let division = LearningWindows(learned: learned, of: count)
    #expect(division.learnedCount == learned && Set(division.chosen).count == division.chosen.count)
    #expect(division.chosen.allSatisfy((0..<count).contains) && division.chosen.first == 0)
    #expect(division.judges == Array(learned..<learned + min(count - learned, 32)))
    for whole in [LearningWindows(learned: nil, of: count), LearningWindows(learned: count + 1, of: count)] {
      #expect(whole.chosen == Array(0..<count) && whole.learnedCount == count)
      #expect(whole.judges.count == min(count, 32) && whole.judges.first == 0)
    }
  }

  @Test func wrongOptionsAreRefused() throws {
    for (key, value) in [
      ("iterations", "0"), ("batch", "0"), ("reach", "far"), ("scale-reach", "2"), ("inputs", "both"),
      ("seed", "-1"), ("windows", "0"), ("model-iterations", "-1"), ("model-reach", "-1"),
      ("model-scale-reach", "2"), ("model-state-weight", "-1"),
      ("model-self-generated", "-1"), ("model-self-generated", "8"),
      ("rate", "1"),
    ] {
      let error = try #require(throws: QuantizationError.self) { try LearnedRounding(options: [key: value]) }
      #expect(error.diagnostic.code == "quantization.option" && error.diagnostic.subject == key)
    }
    let all = try LearnedRounding(
      options: [
        "iterations": "7", "batch": "3", "reach": "0.25", "scale-reach": "0", "inputs": "float", "seed": "9",
        "model-iterations": "5", "model-reach": "0.5", "model-scale-reach": "0.75",
        "model-state-weight": "0.5", "model-self-generated": "6",
      ])
    #expect(
      all
        == LearnedRounding(
          iterations: 7, batch: 3, reach: 0.25, scaleReach: 0, usesQuantizedInputs: false, seed: 9,
          modelIterations: 5, modelReach: 0.5, modelScaleReach: 0.75, modelStateWeight: 0.5,
          modelSelfGenerated: 6))
    #expect(try LearnedRounding(options: ["reach": "auto"]) == LearnedRounding())
  }

  @Test func itNeedsWindowsAndEvenlySpacedCodes() throws {
    let error = try #require(throws: PipelineError.self) {
      try TestModels.quantized(tiny, recipe("rtn"))
    }
    #expect(error.diagnostic.code == "pipeline.learning-needs-windows")
    var uneven = try recipe("rtn")
    uneven.choice.codec = try CodecRegistry.codec(named: "nf4", CodecParameters(groupSize: 32))
    let refused = try #require(throws: QuantizationError.self) {
      try TestModels.quantized(tiny, uneven, windows)
    }
    #expect(refused.diagnostic.code == "quantization.codec")
  }
}
