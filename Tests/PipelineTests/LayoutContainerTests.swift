import Codecs
import Execution
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Checkpoints that other engines load: written, read back, and written again.
@Suite(.serialized) struct LayoutContainerTests {
  let directory = TemporaryDirectory()
  let output = TemporaryDirectory()
  let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: directory)
    directory.write(Array(#"{"bos_token_id": 0}"#.utf8), to: "generation_config.json")
    directory.write(Array("{{ messages }}".utf8), to: "chat_template.jinja")
    tiny = try ModelFormats.load(directory.path)
  }

  private func model(_ codecName: String, _ parameters: CodecParameters) throws -> ModelExport {
    let recipe = QuantizationRecipe(
      methodName: "rtn", codec: try CodecRegistry.codec(named: codecName, parameters))
    return ModelExport(try TestModels.quantized(tiny, recipe))
  }

  /// Values of the weights that a checkpoint holds.
  private func stored(_ model: LoadedModel) throws -> [String: [Float]] {
    try TestModels.decoded(model.requireCheckpoint().filter { !model.derivedNames.contains($0.key) })
  }

  private static let cases: [(String, String, CodecParameters)] = [
    ("gptq", "int4", .init(groupSize: 32)), ("gptq", "int2", .init(groupSize: 32, isSymmetric: false)),
    ("gptq", "int3", .init(groupSize: -1)), ("gptq", "int8", .init(groupSize: 32, scaleType: .bf16)),
    ("gptq-v2", "int4", .init(groupSize: 32, isSymmetric: false)),
    ("awq", "int4", .init(groupSize: 32, isSymmetric: false)), ("awq", "int4", .init(groupSize: -1)),
    ("compressed-tensors", "int4", .init(groupSize: 32)),
    ("compressed-tensors", "int6", .init(groupSize: 32, isSymmetric: false)),
    ("compressed-tensors-w8a8", "int8", .init(groupSize: -1)),
    ("compressed-tensors", "fp8_e4m3", .init()), ("compressed-tensors", "mxfp4", .init()),
    ("compressed-tensors", "nvfp4", .init()), ("compressed-tensors", "mxfp8", .init()),
    ("fp8", "fp8_e4m3", .init()), ("fp8", "fp8_e4m3", .init(groupSize: 128)),
    ("modelopt", "nvfp4", .init()), ("mlx", "affine4", .init(groupSize: 32)), ("mlx", "mxfp4", .init()),
  ]

  @Test("what is written is read back, and written again byte for byte", arguments: 0..<19)
  func roundTrip(index: Int) throws {
    let (name, codec, parameters) = Self.cases[index]
    let export = try model(codec, parameters)
    let container = try ModelContainers.container(named: name, output: "")
    let path = output.file("\(index)")
    try container.write(export, to: path)
    let read = try ModelFormats.load(path)
    let (written, found) = try (TestModels.decoded(export.weights), stored(read))
    #expect(Set(written.keys) == Set(found.keys))
    for (weight, values) in written {
      let other = found[weight] ?? []
      // NVFP4's global scale is a divisor in compressed-tensors.
      let pairs = zip(values, other)
      let isNear = pairs.allSatisfy { abs($0 - $1) <= (codec == "nvfp4" ? abs($0) * 2e-7 : 0) }
      #expect(values.count == other.count && isNear, "\(name) \(codec) \(weight)")
    }
    #expect(read.configuration["torch_dtype"]?.stringValue == "float32")
    for file in ["generation_config.json", "chat_template.jinja"] {
      #expect(try TestModels.bytes(path + "/" + file) == TestModels.bytes(directory.file(file)))
    }
    let again = output.file("\(index)-again")
    try container.write(
      ModelExport(
        source: read, weights: read.requireCheckpoint(),
        history: read.configuration["adze_provenance"] ?? .null),
      to: again)
    for file in try FileReading.list(path) {
      let isSame = try TestModels.bytes(path + "/" + file) == TestModels.bytes(again + "/" + file)
      #expect(isSame, "\(name) \(codec): \(file)")
    }
  }

  @Test("further configuration files are written") func files() throws {
    let gptq = output.file("gptq")
    try ModelContainers.container(named: "gptq", output: "").write(
      model("int4", .init(groupSize: 32)), to: gptq)
    let beside = try JSONValue.parse(contentsOf: gptq + "/quantize_config.json")
    #expect(try JSONValue.parse(contentsOf: gptq + "/config.json")["quantization_config"] == beside)
    let modelOpt = output.file("modelopt")
    try ModelContainers.container(named: "modelopt", output: "").write(model("nvfp4", .init()), to: modelOpt)
    let file = try JSONValue.parse(contentsOf: modelOpt + "/hf_quant_config.json")
    #expect(file["quantization"]?["quant_algo"] == "NVFP4")
    #expect(file["quantization"]?["exclude_modules"] == ["lm_head"])
  }

  @Test("a configuration file beside config.json is enough") func besideOnly() throws {
    for (name, codec, file) in [
      ("gptq", "int4", "quantize_config.json"), ("awq", "int4", "quant_config.json"),
    ] {
      let path = output.file(name + "-beside")
      let export = try model(codec, .init(groupSize: 32))
      try ModelContainers.container(named: name, output: "").write(export, to: path)
      var members = try #require(JSONValue.parse(contentsOf: path + "/config.json").objectValue)
      let quantization = try #require(members["quantization_config"])
      members["quantization_config"] = nil
      try AtomicFile.write(Array(JSONValue.object(members).serialized().utf8), to: path + "/config.json")
      try AtomicFile.write(Array(quantization.serialized().utf8), to: path + "/" + file)
      #expect(
        try stored(ModelFormats.load(path)) == TestModels.decoded(export.weights))
    }
  }

  @Test("scales that are no numbers are refused") func hostileScales() throws {
    for (name, codec) in [("gptq", "int4"), ("compressed-tensors", "nvfp4"), ("mlx", "mxfp4")] {
      let path = output.file(name + codec)
      let parameters = CodecParameters(groupSize: codec == "int4" ? 32 : nil)
      try ModelContainers.container(named: name, output: "").write(model(codec, parameters), to: path)
      var tensors = try SafetensorsFile(path: path + "/model.safetensors").tensors
      let scales = try #require(tensors.keys.first { $0.hasSuffix("scales") || $0.hasSuffix("weight_scale") })
      let tensor = try #require(tensors[scales])
      var bytes = unsafe tensor.withBytes { unsafe Array($0) }
      (bytes[0], bytes[1]) = (0xFF, 0xFF)
      tensors[scales] = try Tensor(bytes: bytes, elementType: tensor.elementType, shape: tensor.shape)
      try SafetensorsWriter.write(tensors, to: path + "/model.safetensors")
      let failure = TestModels.failure { _ = try ModelFormats.load(path) }
      #expect(failure?.message.contains("NaN") == true, "\(name) \(failure?.rendered ?? "accepted")")
      _ = try ModelInspection(path: path)
    }
  }

  @Test("methods that are not read are named") func unknownMethod() throws {
    var members = try #require(tiny.configuration.objectValue)
    members["quantization_config"] = ["quant_method": "bitsandbytes", "load_in_4bit": true]
    directory.write(Array(JSONValue.object(members).serialized().utf8), to: "config.json")
    let failure = TestModels.failure { _ = try ModelFormats.load(directory.path) }
    #expect(failure?.message.contains("bitsandbytes") == true)
    #expect(failure?.hint?.contains("gptq") == true)
  }

  @Test("containers refuse what they cannot hold, by name") func refusals() throws {
    for (name, codec) in [
      ("gptq", "int5"), ("awq", "int8"), ("fp8", "int4"), ("modelopt", "mxfp4"), ("mlx", "int4"),
      ("compressed-tensors", "affine4"),
    ] {
      let codec = try CodecRegistry.codec(named: codec)
      let container = try ModelContainers.container(named: name, output: "")
      #expect(container.refusal(codec, 64, 128) != nil, "\(name) \(codec.canonicalName)")
      let recipe = QuantizationRecipe(methodName: "rtn", codec: codec)
      let plan = try QuantizationPlan(recipe: recipe, graph: tiny.graph, weights: tiny.requireWeights)
      #expect(TestModels.failure { try container.check(plan) } != nil)
    }
  }
}

/// Checkpoints of other tools give the logits that belong to them.
@Suite(.serialized, .enabled(if: SharedData.isAvailable, "the reference data is not here"))
struct LayoutFixtureTests {
  @Test(arguments: [
    "gptqmodel-gptq-w4g128", "autoawq-w4g128", "llmcompressor-w4a16", "llmcompressor-w8a8",
    "llmcompressor-fp8-dynamic",
  ])
  func logits(name: String) throws {
    let folder = SharedData.path("fixtures/" + name)
    let model = try LanguageModel(ModelFormats.load(folder), options: .reference)
    let found = try LogitsStage(model: model, pool: TestModels.pool)
      .run(inputFile: folder + "/expected.safetensors").floats()
    let expected = try #require(SafetensorsFile(path: folder + "/expected.safetensors").tensors["logits"])
      .floats()
    #expect(found.count == expected.count)
    let mean = expected.reduce(0.0) { $0 + Double($1) } / Double(expected.count)
    let variance = expected.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    let deviation = (variance / Double(expected.count)).squareRoot()
    let worst = zip(found, expected).reduce(0.0) { max($0, abs(Double($1.0) - Double($1.1))) }
    #expect(worst <= 1e-5 * deviation, "\(name): \(worst / deviation) of the deviation")
  }

  /// The owner's loader rounds inputs of FP8 layers as it is asked to, and so do we: what differs is few codes that fall the other way.
  @Test func inputsAreRoundedAsTheirOwnerDoes() throws {
    let folder = SharedData.path("fixtures/llmcompressor-fp8-dynamic")
    let tensors = try SafetensorsFile(path: folder + "/expected.safetensors").tensors
    let (exact, tool) = (
      try #require(tensors["logits"]).floats(), try #require(tensors["logits_tool"]).floats()
    )
    let model = try LanguageModel(
      ModelFormats.load(folder), options: ExecutionOptions(cache: .f32))
    let found = try LogitsStage(model: model, pool: TestModels.pool)
      .run(inputFile: folder + "/expected.safetensors").floats()
    func distance(_ a: [Float], _ b: [Float]) -> Float {
      zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    }
    #expect(distance(tool, exact) > 0)
    #expect(distance(found, tool) * 25 < distance(tool, exact))
  }

  @Test(
    "a checkpoint is written again byte for byte",
    arguments: [
      ("gptqmodel-gptq-w4g128", "gptq"), ("autoawq-w4g128", "awq"),
      ("llmcompressor-w4a16", "compressed-tensors"), ("llmcompressor-w8a8", "compressed-tensors"),
      ("llmcompressor-fp8-dynamic", "compressed-tensors"),
    ])
  func again(name: String, container: String) throws {
    let output = TemporaryDirectory()
    let source = try ModelFormats.load(SharedData.path("fixtures/" + name))
    try ModelContainers.container(named: container, output: "").write(
      ModelExport(source: source, weights: source.requireCheckpoint(), history: .null), to: output.file("x"))
    let theirs = try SafetensorsFile(path: SharedData.path("fixtures/\(name)/model.safetensors")).tensors
    let ours = try SafetensorsFile(path: output.file("x/model.safetensors")).tensors
    #expect(Set(ours.keys) == Set(theirs.keys))
    for (tensor, expected) in theirs {
      let found = try #require(ours[tensor])
      #expect(found.elementType == expected.elementType && found.shape == expected.shape, "\(tensor)")
      let isSame = unsafe found.withBytes { left in
        unsafe expected.withBytes { right in unsafe left.elementsEqual(right) }
      }
      #expect(isSame, "\(tensor)")
    }
    #expect(
      try ModelFormats.load(output.file("x")).configuration["torch_dtype"]
        == source.configuration["torch_dtype"])
  }
}
