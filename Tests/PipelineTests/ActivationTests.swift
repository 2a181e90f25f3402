import Calibration
import Codecs
import Execution
import Kernels
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// How inputs are quantized is part of a model: chosen by presets and recipes, stored by containers, honoured when it runs.
@Suite(.serialized) struct ActivationTests {
  private let directory = TemporaryDirectory()
  private let output = TemporaryDirectory()
  private let tiny: LoadedModel
  private let windows = TestModels.tinyWindows()
  private static let tokens: [Int32] = (0..<40).map { $0 * 7 % 48 }

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func preset(_ name: String) throws -> QuantizationRecipe {
    try QuantizationRecipe(
      preset: .named(name), for: tiny, methodName: "rtn", hasCalibration: true)
  }

  private func logits(
    _ model: LoadedModel, _ scheme: ActivationScheme? = nil, simulates: Bool = false
  ) throws -> [Float] {
    var options = ExecutionOptions(activations: scheme, cache: .f32)
    options.unstatedActivations = .float32
    options.simulatesActivations = simulates
    return try TestModels.logits(model, Self.tokens, options: options)
  }

  private func written(_ model: QuantizedModel, _ container: String, _ name: String) throws -> LoadedModel {
    let target = try ModelContainers.container(named: container, output: "")
    try target.write(model, to: output.file(name))
    return try ModelFormats.load(output.file(name))
  }

  /// Checkpoints are in another order than graphs.
  private static func isSame(
    _ first: OrderedDictionary<String, InputQuantization>,
    _ second: OrderedDictionary<String, InputQuantization>
  ) -> Bool {
    first.count == second.count && first.allSatisfy { second[$0.key] == $0.value }
  }

  @Test(arguments: [
    ("W8A8", ActivationScheme.int8Token, ["compressed-tensors"]),
    ("INT8", .int8Token, ["compressed-tensors"]), ("W4A4", .int4Token, ["compressed-tensors"]),
    ("FP8_DYNAMIC", .fp8Token, ["compressed-tensors", "fp8", "modelopt"]),
    ("FP8_BLOCK", .fp8Group, ["compressed-tensors", "fp8"]),
    ("FP8", .fp8Tensor, ["compressed-tensors", "fp8", "modelopt"]),
  ]) func presetsAreStoredAndHonoured(name: String, scheme: ActivationScheme, containers: [String]) throws {
    let model = try TestModels.quantized(tiny, preset(name), .windows(windows))
    #expect(model.activations.count == 14 && model.activations.values.allSatisfy { $0.scheme == scheme })
    #expect(model.activations.values.allSatisfy { ($0.scale != nil) == scheme.isStatic })
    var results: [String: [Float]] = [:]
    for container in containers + ["adze"] {
      let loaded = try written(model, container, container)
      #expect(loaded.saysActivations && loaded.warnings.isEmpty, "\(container): \(loaded.warnings)")
      if container != "adze" { #expect(Self.isSame(loaded.activations, model.activations), "\(container)") }
      let found = try logits(loaded)
      #expect(try bits(found) == bits(logits(loaded, scheme)), "\(container): as with the option")
      #expect(try bits(found) != bits(logits(loaded, .float32)), "\(container): something is rounded")
      results[container] = found
      let plain = try logits(loaded, simulates: true)
      let size = plain.map(\.magnitude).max() ?? 0
      #expect(zip(found, plain).allSatisfy { abs($0 - $1) <= size * 1e-4 }, "\(container): simulation")
    }
    for (container, found) in results {
      let first = try #require(results["compressed-tensors"])
      let size = first.map(\.magnitude).max() ?? 0
      #expect(zip(found, first).allSatisfy { abs($0 - $1) <= size * 1e-3 }, "\(container)")
    }
  }

  @Test func packedFilesKeepScalesAndOutliers() throws {
    var recipe = try TestModels.recipe("rtn", "int8", group: -1)
    recipe.setActivations(.outliers(from: 1.5))
    let model = try TestModels.quantized(tiny, recipe, .windows(windows))
    let columns = model.activations.values.reduce(0) { $0 + $1.outlierColumns.count }
    #expect(columns > 0)
    let packed = try written(model, "adze", "outliers.adze")
    guard case .packed(let prepared, _) = packed.content else {
      Issue.record("not packed")
      return
    }
    for (key, input) in prepared.activations {
      let parts = key.split(separator: "+").compactMap { model.activations[String($0)] }
      #expect(InputQuantization.joined(parts) == input, "\(key)")
    }
    #expect(prepared.activations.count == 8)
    let again = try PackOptions.layout(instructionSet: "portable")
    try ModelContainers.container(named: "adze", output: "").write(
      model, to: output.file("planes.adze"), packing: PackOptions(layout: again))
    #expect(try bits(logits(ModelFormats.load(output.file("planes.adze")))) == bits(logits(packed)))
    let inspection = try ModelInspection(path: output.file("outliers.adze"))
    #expect(inspection.json(withTensors: false)["activations"]?["int8-outliers-1.5"] == 8)
    #expect(inspection.facts.contains { $0.0 == "activations" && $0.1.contains("outlier columns") })
  }

  @Test func containersThatCannotSayItRefuse() throws {
    for (name, container) in [
      ("W8A8", "gguf"), ("W4A8", "gptq"), ("W8A8", "mlx"), ("FP8_BLOCK", "modelopt"), ("W8A8", "fp8"),
    ] {
      let recipe = try preset(name)
      let plan = try QuantizationPlan(recipe: recipe, graph: tiny.graph, weights: tiny.requireCheckpoint())
      let target = try ModelContainers.container(named: container, output: "")
      #expect(TestModels.failure { try target.check(plan) } != nil, "\(name) in \(container)")
    }
    var outliers = try preset("W8A8")
    outliers.setActivations(.int8Outliers)
    let plan = try QuantizationPlan(recipe: outliers, graph: tiny.graph, weights: tiny.requireCheckpoint())
    let target = try ModelContainers.container(named: "compressed-tensors", output: "")
    let failure = try #require(TestModels.failure { try target.check(plan) })
    #expect("\(failure)".contains("int8-outliers") && "\(failure)".contains("--activation-scheme none"))
    // A conversion goes on without, and says so.
    let loaded = try written(TestModels.quantized(tiny, preset("W8A8")), "compressed-tensors", "w8a8")
    let export = try ModelExport(source: loaded, weights: loaded.requireCheckpoint(), history: .null)
    let warning = try #require(
      ModelContainers.container(named: "gptq", output: "").activationWarning(for: export))
    #expect(warning.contains("14 layers") && warning.contains("int8-token"))
    #expect(
      try ModelContainers.container(named: "compressed-tensors", output: "").activationWarning(for: export)
        == nil)
  }

  @Test func recipesNameSchemes() throws {
    func recipe(_ yaml: String) throws -> QuantizationRecipe {
      try RecipeDocument(yaml: yaml, path: "r.yaml").recipe(for: tiny, hasCalibration: true)
    }
    let text = """
      activation_observer: mse
      stages:
        - quantize:
            codec: int8
            group_size: -1
            method: rtn
            activations: int8-tensor
            rules:
              - {targets: ['down_proj'], activations: none}
              - {targets: ['o_proj'], codec: int4, group_size: 32}
      """
    let found = try recipe(text)
    let choices = try found.choices(in: tiny.graph)
    #expect(choices["model.layers.0.mlp.up_proj.weight"]?.activations == .int8Tensor)
    #expect(choices["model.layers.0.mlp.down_proj.weight"]?.activations == nil)
    #expect(
      choices["model.layers.0.self_attn.o_proj.weight"]?.activations == nil, "a rule with a codec of its own")
    #expect(found.activationObserver == .mse && found.json["activation_observer"] == "mse")
    #expect(try recipe("stages: [{quantize: {preset: W8A8}}]").choice.activations == .int8Token)
    #expect(try recipe("stages: [{quantize: {preset: W8A8, activations: none}}]").choice.activations == nil)
    let typo = try #require(
      TestModels.failure { _ = try recipe("stages: [{quantize: {activations: int8-tokn}}]") })
    #expect(typo.hint?.contains("int8-token") == true)
    let key = try #require(
      TestModels.failure { _ = try recipe("stages: [{quantize: {activation: int8-token}}]") })
    #expect(key.hint?.contains("activations") == true)
  }

  @Test func staticScalesAreThoseOfTheInputs() throws {
    var recipe = try preset("W8A8")
    recipe.setActivations(.int8Tensor)
    #expect(
      TestModels.failure { _ = try TestModels.quantized(tiny, recipe) }?.hint?.contains("--corpus") == true)
    let model = try TestModels.quantized(tiny, recipe, .windows(windows))
    #expect(model.activationReports.count == 8, "a report for each input")
    for report in model.activationReports {
      let scale = try #require(report.scale)
      #expect(scale == report.range.absoluteMaximum / 127)
      #expect(report.range.tokenCount == windows.tokenCount)
      #expect(report.relativeError > 0 && report.relativeError < 0.01)
      for name in report.weights { #expect(model.activations[name]?.scale == scale) }
    }
    let json = model.reportJSON["activations"]?.arrayValue?.first
    for key in ["absmax", "p99", "p99_99", "outlier_share", "relative_error", "scale"] {
      #expect(json?[key]?.doubleValue != nil, "\(key)")
    }
    recipe.activationObserver = .mse
    let searched = try TestModels.quantized(tiny, recipe, .windows(windows))
    for (first, second) in zip(model.activationReports, searched.activationReports) {
      #expect(second.relativeError <= first.relativeError * 1.0001)
    }
    let one = try TestModels.quantized(tiny, recipe, .windows(windows), pool: TestModels.singlePool)
    #expect(one.activations == searched.activations, "any number of threads")
  }

  @Test func errorsBeforeAndAfterTransforms() throws {
    var recipe = try preset("W8A8")
    recipe.transforms = [.init(name: "smoothquant")]
    let model = try TestModels.quantized(tiny, recipe, .windows(windows))
    for report in model.activationReports {
      #expect(report.untransformedError != nil && report.untransformedMaximum != nil)
    }
    let folded = Set(model.transforms[0].sites.flatMap(\.weights))
    #expect(
      model.activationReports.contains {
        folded.contains($0.weights[0]) && $0.relativeError < $0.untransformedError ?? 0
      })
  }

  /// Projections of one input that quantize it differently are not joined, and each does as it says.
  @Test func projectionsThatDifferStayApart() throws {
    var model = try TestModels.quantized(tiny, preset("W8A8"))
    let names = model.activations.keys.filter { $0.hasSuffix("k_proj.weight") }
    #expect(names.count == 2)
    for name in names { model.activations[name] = nil }
    let loaded = try written(model, "compressed-tensors", "mixed")
    #expect(Self.isSame(loaded.activations, model.activations))
    let found = try logits(loaded)
    let packed = try written(model, "adze", "mixed.adze")
    #expect(try bits(logits(packed)) == bits(found))
    #expect(
      try bits(found) != bits(logits(loaded, .int8Token)) && bits(found) != bits(logits(loaded, .float32)))
  }

  @Test func badInputsOfPackedFilesAreErrors() throws {
    let model = try TestModels.quantized(tiny, preset("W8A8"), .windows(windows))
    for input in [
      InputQuantization(.int8Tensor), InputQuantization(.fp8Tensor, scale: -1),
      InputQuantization(.int8Token, outlierColumns: [1 << 20]),
      InputQuantization(.int8Token, outlierColumns: [3, 3]),
    ] {
      var bad = model
      for name in bad.activations.keys { bad.activations[name] = input }
      let path = output.file("bad.adze")
      let target = try ModelContainers.container(named: "adze", output: "")
      let failure = TestModels.failure {
        try target.write(bad, to: path)
        _ = try ModelFormats.load(path)
      }
      #expect(failure != nil, "\(input)")
    }
  }
}

private func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
