import Codecs
import GraphIR
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Presets against the types that llama-quantize gave every tensor of the same models (llama.cpp 0c1e57098).
@Suite struct PresetTests {
  static let golden: JSONValue? = {
    let path = SharedData.projectRoot + "/Tests/PipelineTests/Goldens/gguf-mixes.json"
    return (try? FileReading.readAll(path, limit: 1 << 22)).flatMap { try? JSONValue.parse($0, file: path) }
  }()

  private func model(_ configuration: JSONValue, in directory: TemporaryDirectory) throws -> LoadedModel {
    func size(_ key: String) -> Int { configuration[key]?.intValue ?? 0 }
    let (hidden, inner) = (size("hidden_size"), size("intermediate_size"))
    let keys = hidden / size("num_attention_heads") * size("num_key_value_heads")
    var tensors: OrderedDictionary<String, Tensor> = [:]
    func add(_ name: String, _ dimensions: [Int]) throws {
      let shape = try Shape(dimensions)
      tensors[name + ".weight"] = try Tensor(
        bytes: [UInt8](repeating: 0, count: shape.elementCount * 2), elementType: .bf16, shape: shape)
    }
    try add("model.embed_tokens", [48, hidden])
    try add("model.norm", [hidden])
    if configuration["tie_word_embeddings"]?.boolValue == false { try add("lm_head", [48, hidden]) }
    for layer in 0..<size("num_hidden_layers") {
      let prefix = "model.layers.\(layer)."
      for name in ["input_layernorm", "post_attention_layernorm"] { try add(prefix + name, [hidden]) }
      for (name, rows) in [("q", hidden), ("k", keys), ("v", keys), ("o", hidden)] {
        try add(prefix + "self_attn.\(name)_proj", [rows, hidden])
      }
      try add(prefix + "mlp.gate_proj", [inner, hidden])
      try add(prefix + "mlp.up_proj", [inner, hidden])
      try add(prefix + "mlp.down_proj", [hidden, inner])
    }
    try SafetensorsWriter.write(tensors, to: directory.file("model.safetensors"))
    directory.write(Array(configuration.serialized().utf8), to: "config.json")
    return try ModelFormats.load(directory.path, checksValues: false)
  }

  @Test(arguments: ["a", "b", "c"]) func mixesAreThoseOfLlamaQuantize(name: String) throws {
    let golden = try #require(Self.golden?[name])
    let directory = TemporaryDirectory()
    let model = try model(try #require(golden["config"]), in: directory)
    let types = try #require(golden["types"]?.objectValue)
    #expect(types.count >= 40)
    for (key, expected) in types {
      let hasImportance = key.hasSuffix("+imatrix")
      let name = hasImportance ? String(key.dropLast(8)) : key
      let mix = try #require(GGUFMix.all.first { $0.name == name }, "\(name)")
      let found = try mix.types(for: model, hasImportance: hasImportance)
      let most = expected["most"]?.stringValue
      for weight in try model.requireCheckpoint().keys where !weight.contains("norm") {
        guard model.graph.constants[weight] != nil, !model.derivedNames.contains(weight) else { continue }
        let wanted = expected["others"]?[weight]?.stringValue ?? most
        #expect((found[weight] ?? "f16") == wanted, "\(key) \(weight)")
      }
    }
  }

  @Test func presetsMakeRecipes() throws {
    let golden = try #require(Self.golden?["a"])
    let directory = TemporaryDirectory()
    let model = try model(try #require(golden["config"]), in: directory)
    let recipe = try QuantizationRecipe(
      preset: .named("q4_k_m"), for: model, methodName: "gptq", hasCalibration: true)
    let choices = try recipe.choices(in: model.graph)
    #expect(choices["lm_head.weight"]?.codec.canonicalName == "q6_k")
    #expect(choices["lm_head.weight"]?.methodName == "rtn")
    #expect(choices["model.embed_tokens.weight"]?.codec.canonicalName == "q4_k")
    #expect(choices["model.layers.0.self_attn.q_proj.weight"]?.methodName == "gptq")
    #expect(choices["model.norm.weight"] == nil)
    let codebooks = try QuantizationRecipe(
      preset: .named("IQ3_S"), for: model, methodName: "gptq", hasCalibration: true)
    #expect(try codebooks.choices(in: model.graph)["model.layers.3.mlp.up_proj.weight"]?.methodName == "rtn")
    let scheme = try QuantizationRecipe(
      preset: .named("nvfp4a16"), for: model, methodName: "rtn", hasCalibration: false)
    #expect(scheme.codec.canonicalName == "nvfp4" && scheme.choices.isEmpty)
    let failure = TestModels.failure { _ = try QuantizationPreset.named("Q4_KM") }
    #expect(failure?.hint?.contains("Q4_K_M") == true)
  }
}
