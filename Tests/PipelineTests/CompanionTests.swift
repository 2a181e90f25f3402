import Codecs
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Scales of activations and of the KV cache on their way from one layout to another.
@Suite(.serialized) struct CompanionTests {
  let directory = TemporaryDirectory()
  let output = TemporaryDirectory()
  let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private static func wholeTensor() throws -> Float8Codec {
    try Float8Codec(.e4m3, granularity: .tensor, scaleType: .f32)
  }

  /// A compressed-tensors checkpoint with static scales of inputs, and with scales of the cache when asked for.
  private func checkpoint(
    _ codec: any Codec, input: String, hasCache: Bool = true
  ) throws -> LoadedModel {
    let path = output.file("source")
    let recipe = QuantizationRecipe(methodName: "rtn", codec: codec)
    try ModelContainers.container(named: "compressed-tensors", output: "").write(
      ModelExport(TestModels.quantized(tiny, recipe)), to: path)
    var tensors = try SafetensorsFile(path: path + "/model.safetensors").tensors
    for (index, name) in tensors.keys.filter({ $0.hasSuffix(".weight_scale") }).enumerated() {
      let module = String(name.dropLast(".weight_scale".count))
      tensors["\(module).\(input)"] = try Tensor([0.3 + Float(index) / 7], shape: [1])
    }
    for layer in 0..<2 where hasCache {
      tensors["model.layers.\(layer).self_attn.k_scale"] = try Tensor([Float(0.25)], shape: [1])
      tensors["model.layers.\(layer).self_attn.v_scale"] = try Tensor([Float(0.5)], shape: [1])
    }
    try SafetensorsWriter.write(tensors, to: path + "/model.safetensors")
    try declareStaticInputs(path + "/config.json", codec)
    return try ModelFormats.load(path)
  }

  private func declareStaticInputs(_ path: String, _ codec: any Codec) throws {
    var members = try #require(JSONValue.parse(contentsOf: path).objectValue)
    var quantization = try #require(members["quantization_config"]?.objectValue)
    var group = try #require(quantization["config_groups"]?["group_0"]?.objectValue)
    group["input_activations"] =
      codec is NVFP4Codec
      ? ["num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "dynamic": "local"]
      : ["num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false]
    quantization["config_groups"] = ["group_0": .object(group)]
    members["quantization_config"] = .object(quantization)
    try AtomicFile.write(Array(JSONValue.object(members).serialized().utf8), to: path)
  }

  /// Tensors and configuration of a model in a container.
  private func written(
    _ model: LoadedModel, _ container: String, to name: String
  ) throws -> (OrderedDictionary<String, Tensor>, JSONValue, warning: String?) {
    let target = try ModelContainers.container(named: container, output: "")
    let export = try ModelExport(source: model, weights: model.requireCheckpoint(), history: .null)
    try target.write(export, to: output.file(name))
    return (
      try SafetensorsFile(path: output.file(name + "/model.safetensors")).tensors,
      try JSONValue.parse(contentsOf: output.file(name + "/config.json"))["quantization_config"] ?? .null,
      try target.companionWarning(for: export)
    )
  }

  @Test("FP8 layouts exchange scales of inputs and of the cache") func floats() throws {
    let source = try checkpoint(Self.wholeTensor(), input: "input_scale")
    #expect(source.companions.count == 14 + 4)
    let (same, scheme, none) = try written(source, "compressed-tensors", to: "same")
    #expect(none == nil)
    #expect(Set(same.keys) == Set(try SafetensorsFile(path: source.files[0]).tensors.keys))
    let group = scheme["config_groups"]?["group_0"]
    #expect(group?["input_activations"]?["dynamic"] == false)
    #expect(scheme["kv_cache_scheme"]?["num_bits"] == 8)

    let (fp8, member, nothing) = try written(source, "fp8", to: "fp8")
    #expect(nothing == nil && member["activation_scheme"] == "static")
    #expect(fp8["model.layers.1.self_attn.k_scale"] != nil)
    let module = "model.layers.1.mlp.up_proj"
    let expected = try source.companions[module + ".input_scale"]?.floats()
    #expect(try expected != nil && fp8[module + ".input_scale"]?.floats() == expected)

    let (modelOpt, options, nil_) = try written(ModelFormats.load(output.file("fp8")), "modelopt", to: "opt")
    #expect(nil_ == nil && options["kv_cache_quant_algo"] == "FP8")
    #expect(try modelOpt["model.layers.1.self_attn.v_proj.v_scale"]?.floats() == [0.5])
    #expect(try modelOpt[module + ".input_scale"]?.floats() == expected)

    let (back, _, _) = try written(ModelFormats.load(output.file("opt")), "compressed-tensors", to: "back")
    #expect(Set(back.keys) == Set(same.keys))
    for (name, tensor) in back { #expect(try tensor.floats() == same[name]?.floats(), "\(name)") }
  }

  @Test("NVFP4 keeps its divisors, and other layouts get their inverses") func fourBits() throws {
    let source = try checkpoint(NVFP4Codec(), input: "input_global_scale", hasCache: false)
    let (same, scheme, none) = try written(source, "compressed-tensors", to: "same")
    #expect(none == nil)
    #expect(scheme["config_groups"]?["group_0"]?["input_activations"]?["dynamic"] == "local")
    let stored = try SafetensorsFile(path: source.files[0]).tensors
    #expect(Set(same.keys) == Set(stored.keys))
    for (name, tensor) in stored {
      let isSame = unsafe tensor.withBytes { left in
        unsafe same[name]?.withBytes { right in unsafe left.elementsEqual(right) }
      }
      #expect(isSame == true, "\(name)")
    }
    let (modelOpt, _, nothing) = try written(source, "modelopt", to: "opt")
    #expect(nothing == nil)
    let module = "model.layers.0.mlp.down_proj"
    let divisor = try #require(stored[module + ".input_global_scale"]?.floats().first)
    #expect(try modelOpt[module + ".input_scale"]?.floats() == [1 / divisor])
    // 1 / 3 and the like: inverting twice would not always give the bits back.
    let global = try #require(stored[module + ".weight_global_scale"]?.floats().first)
    #expect(try modelOpt[module + ".weight_scale_2"]?.floats() == [1 / global])
  }

  @Test("an arbitrary divisor of NVFP4 survives being read and written") func divisors() throws {
    let source = try checkpoint(NVFP4Codec(), input: "input_global_scale", hasCache: false)
    var tensors = try SafetensorsFile(path: source.files[0]).tensors
    var generator = SeededGenerator(seed: 3)
    let names = tensors.keys.filter { $0.hasSuffix(".weight_global_scale") }
    var inexact = 0
    for name in names {
      let value = Float.random(in: 100..<20000, using: &generator)
      if 1 / (1 / value) != value { inexact += 1 }
      tensors[name] = try Tensor([value], shape: [1])
    }
    #expect(inexact > 0)
    try SafetensorsWriter.write(tensors, to: source.files[0])
    let (same, _, _) = try written(ModelFormats.load(source.path), "compressed-tensors", to: "same")
    for name in names { #expect(try same[name]?.floats() == tensors[name]?.floats(), "\(name)") }
  }

  @Test("containers without a place for them leave them out and say how many") func left() throws {
    let source = try checkpoint(Self.wholeTensor(), input: "input_scale")
    let weights = try source.requireCheckpoint().mapValues { weight in
      if case .encoded(let matrix) = weight {
        Weight.dense(
          try Tensor(matrix.decoded().values, shape: Shape([matrix.rows, matrix.columns])))
      } else {
        weight
      }
    }
    let plain = ModelExport(source: source, weights: weights, history: .null)
    for name in ["safetensors", "gguf"] {
      let container = try ModelContainers.container(named: name, output: "")
      let warning = try #require(try container.companionWarning(for: plain))
      #expect(warning.contains("18 of 18") && warning.contains(name))
    }
    try ModelContainers.container(named: "safetensors", output: "").write(plain, to: output.file("plain"))
    let names = try SafetensorsFile(path: output.file("plain/model.safetensors")).tensors.keys
    #expect(!names.contains { $0.hasSuffix("_scale") } && names.contains("lm_head.weight"))

    // Plain weights still have a place for the cache's scales, in a container that is for it.
    try ModelContainers.container(named: "compressed-tensors", output: "").write(
      plain, to: output.file("cache"))
    let cache = try ModelFormats.load(output.file("cache"))
    #expect(cache.companions.count == 4)
    #expect(try ModelContainers.converting(cache, to: "x", named: nil).name == "compressed-tensors")
  }

  @Test("scales of only some inputs make no static scheme") func incomplete() throws {
    let source = try checkpoint(Self.wholeTensor(), input: "input_scale", hasCache: false)
    var tensors = try SafetensorsFile(path: source.files[0]).tensors
    tensors["model.layers.0.mlp.up_proj.input_scale"] = nil
    try SafetensorsWriter.write(tensors, to: source.files[0])
    let (fp8, member, warning) = try written(ModelFormats.load(source.path), "fp8", to: "fp8")
    #expect(member["activation_scheme"] == "dynamic")
    #expect(!fp8.keys.contains { $0.hasSuffix(".input_scale") })
    #expect(warning?.contains("13 of 13") == true)
  }
}
