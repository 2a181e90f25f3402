import Calibration
import Codecs
import GraphIR
import OrderedCollections
import Pipeline
import Quantization
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite(.serialized) struct QuantizationStageTests {
  let directory = TemporaryDirectory()
  let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  @Test func everyMethodFillsEveryCodec() throws {
    let windows = CalibrationSource.windows(TestModels.tinyWindows())
    for method in ["rtn", "gptq"] {
      for codec in ["int2", "int4", "int8"] {
        for group in [32, 64, -1] {
          for symmetric in [true, false] {
            let recipe = try TestModels.recipe(method, codec, group: group, symmetric: symmetric)
            let result = try TestModels.quantized(tiny, recipe, windows)
            let what = "\(method) \(recipe.codec.canonicalName)"
            #expect(result.reports.count == 14, "\(what)")
            for report in result.reports {
              #expect(
                report.relativeError.isFinite && report.relativeError < (codec == "int2" ? 1 : 0.05),
                "\(what) \(report)")
              #expect(report.fallback == nil, "\(what) \(report)")
              guard case .encoded(let matrix) = result.weights[report.layer] else {
                Issue.record("\(report.layer) was not quantized")
                continue
              }
              #expect(matrix.codec.canonicalName == recipe.codec.canonicalName)
            }
            #expect(result.weights.count == tiny.requireWeights.count)
          }
        }
      }
    }
  }

  @Test func bytesDependOnNeitherThreadsNorRuns() throws {
    let windows = CalibrationSource.windows(TestModels.tinyWindows())
    for method in ["rtn", "gptq"] {
      let recipe = try TestModels.recipe(method)
      let files = try [TestModels.pool, TestModels.singlePool, TestModels.pool].map { pool in
        let result = try TestModels.quantized(tiny, recipe, windows, pool: pool)
        let output = TemporaryDirectory()
        for (container, name) in [("compressed-tensors", "directory"), ("adze", "packed.adze")] {
          try ModelContainers.container(named: container, output: "").write(result, to: output.file(name))
        }
        return try ["directory/model.safetensors", "directory/config.json", "packed.adze"].map {
          Checksum.sha256(try TestModels.bytes(output.file($0))).hexadecimal
        }
      }
      #expect(files[0] == files[1], "\(method): threads")
      #expect(files[0] == files[2], "\(method): runs")
    }
  }

  @Test func gptqBeatsRounding() throws {
    let acorn = try TestModels.acorn()
    let windows = CalibrationSource.windows(try TestModels.windows(acorn, count: 4, length: 128))
    let targets = [#"layers\.[01]\."#]
    let gptq = try TestModels.quantized(acorn, TestModels.recipe("gptq", targets: targets), windows)
    #expect(gptq.reports.count == 14)
    #expect(gptq.reports.allSatisfy { $0.uncorrected == nil }, "the first layers have nothing to make up for")
    let rounded = try TestModels.quantized(acorn, TestModels.recipe("rtn", targets: targets), windows)
    let mean = { (model: QuantizedModel, path: KeyPath<LayerReport, Double>) in
      model.reports.reduce(0) { $0 + $1[keyPath: path] } / Double(model.reports.count)
    }
    #expect(mean(gptq, \.relativeError) < 0.9 * mean(gptq, \.roundingRelativeError))
    #expect(try TestModels.decoded(gptq.weights) != TestModels.decoded(rounded.weights))
    for report in gptq.reports {
      #expect(report.relativeError < 1.05 * report.roundingRelativeError, "\(report)")
      #expect(report.tokenCount == 512)
    }
  }

  @Test func statisticsOfAFileGiveWhatTheyGaveInMemory() throws {
    let windows = TestModels.tinyWindows()
    let statistics = try CalibrationStage(model: tiny, pool: TestModels.pool).run(
      windows: windows, withSecondMoments: true)
    let path = directory.file("statistics.safetensors")
    try statistics.write(to: path)
    let read = try StatisticsFile(path: path)
    #expect(read.modelDigest == (try tiny.weightsDigest()))
    #expect(read.tokenCount == windows.tokenCount)
    let recipe = try TestModels.recipe("gptq")
    let first = try TestModels.quantized(tiny, recipe, .statistics(statistics, digest: "d"))
    let second = try TestModels.quantized(tiny, recipe, .statistics(read, digest: "d"))
    #expect(try TestModels.decoded(first.weights) == TestModels.decoded(second.weights))
    // The first group sees the same inputs either way; later ones see those of quantized layers when read through.
    let sequential = try TestModels.quantized(tiny, recipe, .windows(windows))
    let name = "model.layers.0.self_attn.q_proj.weight"
    #expect(try sequential.weights[name]?.decoded().values == second.weights[name]?.decoded().values)
    let last = "model.layers.1.mlp.down_proj.weight"
    #expect(try sequential.weights[last]?.decoded().values != second.weights[last]?.decoded().values)
  }

  /// What a layer reads in calibration is what it reads in the whole model: the residual stream survives every cut.
  @Test func lateLayersSeeTheInputsOfTheWholeModel() throws {
    let windows = TestModels.tinyWindows(count: 2, length: 16)
    let file = try CalibrationStage(model: tiny, pool: TestModels.pool).run(
      windows: windows, withSecondMoments: false)
    let layer = try #require(try file.statistics(for: "model.layers.1.mlp.down_proj.weight"))
    let graph = tiny.graph
    let node = try #require(graph.linearNodes.first { $0.weights == ["model.layers.1.mlp.down_proj.weight"] })
    let reference = try ReferenceInputs.squareSums(of: node.input, model: tiny, windows: windows)
    #expect(layer.squareSums.count == reference.count)
    // The inputs in between are kept in bfloat16.
    for (found, expected) in zip(layer.squareSums, reference) {
      #expect(abs(found - expected) <= 5e-2 * expected + 1e-9, "\(found) instead of \(expected)")
    }
  }

  @Test func gptqNeedsItsStatistics() throws {
    let plain = try CalibrationStage(model: tiny, pool: TestModels.pool).run(
      windows: TestModels.tinyWindows(), withSecondMoments: false)
    let recipe = try TestModels.recipe("gptq")
    #expect(
      TestModels.failure { _ = try TestModels.quantized(tiny, recipe, .statistics(plain, digest: "")) } != nil
    )
    #expect(TestModels.failure { _ = try TestModels.quantized(tiny, recipe) } != nil)
  }

  @Test func patternsChooseWeights() throws {
    let all = try TestModels.recipe().selectedWeights(in: tiny.graph)
    #expect(all.count == 14 && !all.contains("lm_head.weight"))
    let head = try TestModels.recipe(targets: ["lm_head"]).selectedWeights(in: tiny.graph)
    #expect(head == ["lm_head.weight"])
    let some = try TestModels.recipe(targets: ["mlp", "q_proj"], ignored: [#"layers\.1\."#, "up_proj"])
    #expect(
      try some.selectedWeights(in: tiny.graph).sorted() == [
        "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.self_attn.q_proj.weight",
      ])
    let result = try TestModels.quantized(tiny, some)
    #expect(Set(result.quantizedNames) == Set(try some.selectedWeights(in: tiny.graph)))
    let failures: [(QuantizationRecipe, String)] = [
      (try TestModels.recipe(ignored: ["no_such"]), "pattern.no-match"),
      (try TestModels.recipe(targets: ["no_such"]), "pattern.no-match"),
      (try TestModels.recipe(targets: ["("]), "pattern.invalid"),
      (try TestModels.recipe(ignored: ["."]), "quantize.nothing"),
    ]
    for (recipe, code) in failures {
      let failure = TestModels.failure { _ = try recipe.selectedWeights(in: tiny.graph) }
      #expect(failure?.code == code)
      #expect(failure?.status == .usage)
    }
  }

  @Test func fallbacksAboveTheShareAreAnError() throws {
    // Windows of one token leave second moments of rank one; without damping they cannot be inverted.
    let windows = CalibrationSource.windows(CalibrationWindows(windows: [[1, 1]]))
    let options = ["damping": "1e-30"]
    var strict = try TestModels.recipe("gptq", options: options, fallback: 0)
    var fallen: Diagnostic?
    var reports: [LayerReport] = []
    fallen = TestModels.failure { reports = try TestModels.quantized(tiny, strict, windows).reports }
    if let fallen { #expect(fallen.code == "quantize.fallbacks") }
    strict.maximumFallbackShare = 1
    reports = try TestModels.quantized(tiny, strict, windows).reports
    #expect((fallen != nil) == reports.contains { $0.fallback != nil })
    #expect(reports.contains { $0.dampingRetryCount > 0 || $0.fallback != nil })
  }

  @Test func quantizingTwiceIsRefused() throws {
    let output = TemporaryDirectory()
    try ModelContainers.container(named: nil, output: "x").write(
      TestModels.quantized(tiny, TestModels.recipe()), to: output.file("once"))
    let once = try ModelFormats.load(output.file("once"))
    let failure = TestModels.failure { _ = try TestModels.quantized(once, TestModels.recipe()) }
    #expect(failure?.code == "quantize.weight")
  }

  @Test func aStopInTheMiddleEndsTheWork() throws {
    struct Stop: Error {}
    var calls = 0
    #expect(throws: Stop.self) {
      try QuantizationStage(model: tiny, recipe: TestModels.recipe("gptq"), pool: TestModels.pool).run(
        calibration: .windows(TestModels.tinyWindows())
      ) { progress in
        #expect((0...1).contains(progress.fraction))
        calls += 1
        if calls == 5 { throw Stop() }
      }
    }
    #expect(calls == 5)
  }

  @Test func thePlanForeseesTheBytes() throws {
    for group in [32, -1] {
      let recipe = try TestModels.recipe("rtn", "int4", group: group)
      let plan = try QuantizationPlan(recipe: recipe, graph: tiny.graph, weights: tiny.requireCheckpoint())
      let result = try TestModels.quantized(tiny, recipe)
      #expect(plan.targetByteCount == result.weights.values.reduce(0) { $0 + $1.byteCount })
      #expect(abs(plan.bitsPerWeight - result.bitsPerWeight) < 1e-9)
      #expect(plan.sourceByteCount > plan.targetByteCount)
      let small = plan.memoryEstimate(graph: tiny.graph, calibrationTokens: 100, needsSecondMoment: false)
      let large = plan.memoryEstimate(graph: tiny.graph, calibrationTokens: 100_000, needsSecondMoment: true)
      #expect(small > plan.targetByteCount && large > small + 64 * 99_900)
    }
  }
}

extension LoadedModel {
  /// The weights of a checkpoint; none of a packed model.
  var requireWeights: OrderedDictionary<String, Weight> { (try? requireCheckpoint()) ?? [:] }
}
