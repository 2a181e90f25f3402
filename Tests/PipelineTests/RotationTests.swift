import Codecs
import GraphPasses
import OrderedCollections
import Pipeline
import Quantization
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite struct RotationTests {
  private let output = TemporaryDirectory()

  /// A golden model in float32, so that what differs is the rotation and not the type of what is stored.
  private func golden(_ name: String) throws -> LoadedModel {
    let model = try ModelFormats.load(SharedData.projectRoot + "/Tests/ArchitecturesTests/Goldens/" + name)
    return model.replacing(
      weights: try model.requireCheckpoint().mapValues { weight in
        guard case .dense(let tensor) = weight else { return weight }
        return .dense(try Tensor(tensor.floats(), shape: tensor.shape))
      })
  }

  private func rotated(
    _ model: LoadedModel, _ options: [String: String] = [:], codec: String = "int8"
  ) throws -> QuantizedModel {
    var recipe = try TestModels.recipe("rtn", codec, group: -1)
    recipe.transforms = [.init(name: "rotation", options: options)]
    return try TestModels.quantized(model, recipe)
  }

  private static let tokens: [Int32] = (0..<24).map { $0 * 5 % 37 }

  private func difference(_ model: LoadedModel, _ other: LoadedModel) throws -> Float {
    let (a, b) = (try TestModels.logits(model, Self.tokens), try TestModels.logits(other, Self.tokens))
    let mean = a.reduce(0, +) / Float(a.count)
    let deviation = (a.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Float(a.count)).squareRoot()
    return zip(a, b).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) } / deviation
  }

  /// Families with root mean square norms before their readers: gains with and without an offset, tied heads, scales, experts, a
  /// shared expert, fused projections, latent attention.
  @Test(arguments: [
    "llama-yarn", "qwen3-bias", "gemma", "glm4-moe", "qwen2-moe", "qwen3-moe-mixed", "phi3-partial",
    "smollm3",
    "deepseek3", "mistral-plain",
  ])
  func theFloatModelIsTheSame(name: String) throws {
    let model = try golden(name)
    let result = try rotated(model, ["residual": "always"])
    let report = try #require(result.transforms.first)
    #expect(report.streamWidth > 0 && !report.rotated.isEmpty)
    #expect(try difference(model, result.source) < 1e-4)
    // Whatever turned weights there are, they are other numbers now.
    let before = try model.requireCheckpoint()
    for name in report.rotated where name != "lm_head.weight" {
      #expect(try result.source.requireCheckpoint()[name]?.decoded() != before[name]?.decoded(), "\(name)")
    }
  }

  /// Inputs of down projections, and of output projections where values cannot be turned, are turned by the program itself.
  @Test(arguments: [
    ("llama-yarn", "auto"), ("gemma", "auto"), ("phi3-partial", "auto"), ("gpt2-inner", "never"),
  ])
  func inputsAreTurnedWhenTheModelRuns(name: String, values: String) throws {
    let model = try golden(name)
    var recipe = try TestModels.recipe("rtn", "int8", group: -1)
    recipe.transforms = [.init(name: "rotation", options: ["inputs": "always", "values": values])]
    let result = try TestModels.quantized(model, recipe)
    let report = try #require(result.transforms.first)
    let layers = try #require(model.configuration["num_hidden_layers"] ?? model.configuration["n_layer"])
    #expect(report.turnedInputs >= layers.intValue ?? .max)
    #expect(result.source.graph.turnsInputs && !model.graph.turnsInputs)
    #expect(try difference(model, result.source) < 1e-4)

    // The packed program does as well; files of other engines cannot.
    let packed = output.file(name + ".adze")
    try ModelContainers.container(named: "adze", output: packed).write(result, to: packed)
    let loaded = try ModelFormats.load(packed)
    #expect(loaded.graph.turnsInputs)
    #expect(try difference(result.source.replacing(weights: result.weights), loaded) < 0.02)
    for container in ["compressed-tensors", "gguf", "safetensors"] {
      let path = output.file(name + container + (container == "gguf" ? ".gguf" : ""))
      let failure = TestModels.failure {
        try ModelContainers.container(named: container, output: path).write(result, to: path)
      }
      #expect("\(try #require(failure))".contains("Hadamard"), "\(container)")
    }
  }

  /// Without being asked, only for inputs that are rounded to integers; and refused before any work where no file can say so.
  @Test func roundedInputsAreTurned() throws {
    let model = try golden("llama-yarn")
    #expect(try rotated(model).transforms.first?.turnedInputs == 0)
    var recipe = try TestModels.recipe("rtn", "int8", group: -1)
    recipe.setActivations(.int8Token)
    for (option, turned) in [("auto", true), ("never", false)] {
      recipe.transforms = [.init(name: "rotation", options: ["inputs": option])]
      #expect((try TestModels.quantized(model, recipe).transforms.first?.turnedInputs ?? 0 > 0) == turned)
      let failure = TestModels.failure {
        try ModelContainers.container(named: "compressed-tensors", output: "x").check(recipe)
      }
      #expect((failure != nil) == turned)
      try ModelContainers.container(named: "adze", output: "x.adze").check(recipe)
    }
  }

  @Test(arguments: [
    ("gpt2-inner", "layer norms"), ("olmo3", "rms_norm makes"), ("gemma2-plain", "rms_norm makes"),
    ("bloom", "layer norms"),
  ])
  func whatCannotBeTurnedIsSaid(name: String, reason: String) throws {
    let model = try golden(name)
    let failure = TestModels.failure { _ = try rotated(model, ["residual": "always"]) }
    #expect("\(try #require(failure))".contains(reason), "\(failure.map { "\($0)" } ?? "")")
    let nothing = TestModels.failure { _ = try rotated(model, ["values": "never"]) }
    #expect("\(try #require(nothing))".contains(reason))
    let values = try rotated(model)
    #expect(values.transforms.first?.refusals.contains { $0.contains(reason) } == true)
    #expect(try difference(model, values.source) < 1e-4)
  }

  @Test func aTiedHeadBecomesAWeightThatFilesHold() throws {
    let model = try golden("gemma")
    #expect(try model.requireCheckpoint()["lm_head.weight"] == nil)
    let result = try rotated(model, codec: "int8")
    #expect(result.source.configuration["tie_word_embeddings"]?.boolValue == false)
    let path = output.file("exported")
    try ModelContainers.container(named: "compressed-tensors", output: path).write(result, to: path)
    let again = try ModelFormats.load(path)
    #expect(try again.requireCheckpoint()["lm_head.weight"] != nil)
    #expect(try difference(result.source.replacing(weights: result.weights), again) < 1e-5)
  }

  @Test func wrongOptionsAreNamed() throws {
    try TestModels.writeTiny(to: output)
    let tiny = try ModelFormats.load(output.path)
    for options in [["residual": "maybe"], ["seeds": "1"], ["seed": "-1"]] {
      #expect(TestModels.failure { _ = try rotated(tiny, options) }?.code.contains("option") == true)
    }
  }
}
