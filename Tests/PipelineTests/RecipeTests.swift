import Calibration
import Codecs
import OrderedCollections
import Pipeline
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct RecipeTests {
  private let output = TemporaryDirectory()
  private let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: output)
    tiny = try ModelFormats.load(output.path)
  }

  private func recipe(_ yaml: String) throws -> QuantizationRecipe {
    try RecipeDocument(yaml: yaml, path: "r.yaml").recipe(for: tiny, hasCalibration: true)
  }

  @Test func stagesAndRulesChooseCodecs() throws {
    let recipe = try recipe(
      """
      max_fallback: 0.5
      min_expert_tokens: 7
      stages:
        - awq: {ratios: 4}
        - quantize:
            targets: [down_proj]
            codec: int8
            group_size: 32
            symmetric: false
            method: rtn
        - quantize:
            codec: int4
            group_size: 16
            scale_type: bf16
            options: {damping: 0.05, block_size: 64}
            ignore: ['layers\\.1\\.mlp\\.up']
            rules:
              - targets: v_proj
                codec: q8_0
              - targets: [q_proj, k_proj]
                method: rtn
      """)
    let choices = try recipe.choices(in: tiny.graph)
    func text(_ name: String) -> String {
      choices["model.layers.0.\(name).weight"].map { "\($0.codec.canonicalName) \($0.methodName)" } ?? ""
    }
    #expect(text("mlp.down_proj") == "int8-g32-asym rtn")
    #expect(text("self_attn.v_proj") == "q8_0 gptq")
    #expect(text("self_attn.q_proj") == "int4-g16-sym-bf16 rtn")
    #expect(text("self_attn.o_proj") == "int4-g16-sym-bf16 gptq")
    #expect(
      choices["model.layers.0.self_attn.o_proj.weight"]?.methodOptions == [
        "damping": "0.05", "block-size": "64",
      ])
    #expect(choices["model.layers.1.mlp.up_proj.weight"] == nil && choices.count == 13)
    #expect(recipe.transforms == [.init(name: "awq", options: ["ratios": "4"])])
    #expect(recipe.maximumFallbackShare == 0.5 && recipe.minimumExpertTokens == 7)
    let other = try self.recipe("stages: [{quantize: {preset: W4A16}}]")
    #expect(other.json != recipe.json)
  }

  @Test(arguments: [
    ("stages: [{quantise: {codec: int4}}]", "stages[0]", "quantize"),
    ("stages: [{quantize: {codek: int4}}]", "stages[0].quantize", "codec"),
    ("stage: []", "recipe", "stages"), ("stages: []", "stages", ""), ("[", "", ""),
    ("stages: [{quantize: {rules: [{codec: int4}]}}]", "stages[0].quantize.rules[0]", ""),
    ("stages: [{quantize: {codec: int4}, awq: {}}]", "stages[0]", ""),
    ("stages: [{quantize: {codec: int4}}, {awq: {}}]", "stages[1]", "before"),
    ("stages: [{quantize: {preset: W4A16, codec: int4}}]", "stages[0].quantize", ""),
    ("stages: [{quantize: {symmetric: 3}}]", "stages[0].quantize.symmetric", ""),
    ("max_fallback: 2\nstages: [{quantize: {codec: int4}}]", "max_fallback", ""),
  ]) func mistakesAreNamed(yaml: String, key: String, hint: String) throws {
    let failure = try #require(TestModels.failure { _ = try recipe(yaml) })
    #expect(failure.code == "recipe" && failure.status == .usage)
    #expect((failure.subject ?? "") == key, "\(failure)")
    #expect(hint.isEmpty || failure.hint?.contains(hint) == true, "\(failure)")
  }

  @Test(arguments: [
    "stages: [{quantize: {preset: W9A16}}]", "stages: [{quantize: {codec: int9}}]",
    "stages: [{quantize: {method: gtpq}}]", "stages: [{quantize: {options: {dampening: 1}}}]",
    "stages: [{quantize: {codec: int4}}, {quantize: {codec: int8}}]",
    "stages: [{quantize: {targets: [down], preset: Q4_K_M}}, {quantize: {codec: int8}}]",
  ]) func whatCannotBeDoneIsRefused(yaml: String) {
    #expect(TestModels.failure { _ = try recipe(yaml) }?.status == .usage)
  }

  @Test func mixedPrecisionIsQuantizedSo() throws {
    let recipe = try recipe(
      "stages: [{quantize: {codec: int4-g32-sym, rules: [{targets: down_proj, codec: q8_0, method: rtn}]}}]")
    let result = try TestModels.quantized(tiny, recipe, .windows(TestModels.tinyWindows()))
    let byName = Dictionary(
      uniqueKeysWithValues: result.reports.map { ($0.layer, "\($0.codec) \($0.method)") })
    #expect(byName["model.layers.1.mlp.down_proj.weight"] == "q8_0 rtn")
    #expect(byName["model.layers.1.mlp.up_proj.weight"] == "int4-g32-sym gptq")
  }

  @Test func embeddingsAreRoundedWhenNamed() throws {
    let recipe = try TestModels.recipe("gptq", "int8", targets: ["embed_tokens", "q_proj"])
    let result = try TestModels.quantized(tiny, recipe, .windows(TestModels.tinyWindows()))
    #expect(result.weights["model.embed_tokens.weight"]?.encodingName == "int8-g32-sym")
    #expect(result.reports.first { $0.layer.contains("embed") }?.method == "rtn")
    #expect(result.reports.count == 3)
  }
}
