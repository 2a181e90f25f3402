import Calibration
import Codecs
import GraphPasses
import OrderedCollections
import Pipeline
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct AWQTests {
  private let output = TemporaryDirectory()
  private let tiny: LoadedModel
  private let windows = TestModels.tinyWindows()

  init() throws {
    try TestModels.writeTiny(to: output)
    tiny = try ModelFormats.load(output.path)
  }

  @Test func sitesAreFoundInTheGraph() throws {
    let sites = FoldSite.sites(in: tiny.graph)
    // In each layer: both norms, the values before the output projection, the ungated side; and the last norm.
    #expect(sites.count == 9)
    let names = sites.map { site -> String in
      switch site.producer {
      case .normalization(let gain, _, _): "norm \(gain)"
      case .projection(let weight, _, _): "rows \(weight)"
      }
    }
    #expect(names.contains("norm model.layers.0.input_layernorm.weight"))
    #expect(names.contains("rows model.layers.1.self_attn.v_proj.weight"))
    #expect(names.contains("rows model.layers.1.mlp.up_proj.weight"))
    let values = try #require(sites.first { $0.consumers == ["model.layers.0.self_attn.o_proj.weight"] })
    // Four query heads of 16 share two heads of values.
    #expect(values.factorCount == 32 && values.factorOfColumn.count == 64)
    #expect(values.factorOfColumn[16] == 0 && values.factorOfColumn[32] == 16)
  }

  @Test func foldedFactorsDoNotChangeTheModel() throws {
    // Codecs of 16 bits' worth: rounding with int8 in small groups leaves little, so that what remains is the folding.
    let recipe = try awq("int2", group: 16)
    let result = try TestModels.quantized(tiny, recipe, .windows(windows))
    let report = try #require(result.transforms.first)
    #expect(!report.sites.isEmpty, "no site was better")
    #expect(report.sites.allSatisfy { $0.relativeLoss < 1 })
    // The transformed float model is the source of the result.
    let (before, after) = (try TestModels.logits(tiny), try TestModels.logits(result.source))
    let scale = before.reduce(Float(0)) { max($0, abs($1)) }
    for (left, right) in zip(before, after) { #expect(abs(left - right) < 1e-4 * scale) }
    let changed = try result.source.requireWeights.filter { name, weight in
      try weight.decoded() != tiny.requireWeights[name]?.decoded()
    }
    #expect(changed.count > report.sites.count)
  }

  private func awq(_ codec: String, group: Int) throws -> QuantizationRecipe {
    var recipe = try TestModels.recipe("rtn", codec, group: group, options: ["scale-search": "least-squares"])
    recipe.transforms = [QuantizationRecipe.Transform(name: "awq", options: ["ratios": "6"])]
    return recipe
  }

  /// What factors are chosen for: the error of the outputs of the layers that share an input.
  @Test func outputErrorsOfSitesFall() throws {
    let scaled = try TestModels.quantized(tiny, awq("int3", group: 32), .windows(windows))
    let losses = scaled.transforms.flatMap(\.sites).map(\.relativeLoss)
    #expect(losses.count > 4 && losses.allSatisfy { $0 < 1 }, "\(losses)")
    #expect(losses.reduce(0, +) / Double(losses.count) < 0.98, "\(losses)")
    #expect(scaled.calibration != nil)
  }

  @Test func statisticsServeAsWellAndGPTQFollows() throws {
    let statistics = try CalibrationStage(model: tiny, pool: TestModels.pool).run(
      windows: windows, withSecondMoments: true)
    var recipe = try awq("int3", group: 32)
    recipe.choice.methodName = "gptq"
    recipe.choice.methodOptions = [:]
    let result = try TestModels.quantized(tiny, recipe, .statistics(statistics, digest: "d"))
    #expect(result.reports.allSatisfy { $0.relativeError < $0.roundingRelativeError && $0.method == "gptq" })
    #expect(!(result.transforms.first?.sites.isEmpty ?? true))
    let failure = TestModels.failure { _ = try TestModels.quantized(tiny, recipe) }
    #expect(failure?.status == .usage)
  }
}
