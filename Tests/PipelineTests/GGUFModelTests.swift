import Calibration
import Codecs
import GGUF
import OrderedCollections
import Pipeline
import SafeIO
import TensorCore
import TestSupport
import Testing
import Tokenizers

/// Models to GGUF and back: weights, configuration and logits; and what other tools wrote.
@Suite struct GGUFModelTests {
  private let directory = TemporaryDirectory()
  private let output = TemporaryDirectory()
  private let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func write(_ model: LoadedModel, _ change: (inout GGUFExport) -> Void = { _ in }) throws -> String {
    var export = try GGUFExport(model)
    change(&export)
    return try export.write(to: output.file("m.gguf"))[0]
  }

  @Test func denseModelsComeBackToTheBit() throws {
    let path = try write(tiny)
    let read = try ModelFormats.load(path)
    #expect(read.format == "GGUF" && read.warnings.isEmpty, "\(read.warnings)")
    #expect(read.summary == tiny.summary)
    let (before, after) = (try tiny.requireCheckpoint(), try read.requireCheckpoint())
    #expect(Set(before.keys) == Set(after.keys))
    for (name, weight) in before {
      #expect(try weight.decoded() == after[name]?.decoded(), "\(name)")
      #expect(weight.encodingName == after[name]?.encodingName)
    }
    #expect(try TestModels.logits(read) == TestModels.logits(tiny))
    for key in [
      "rms_norm_eps", "hidden_size", "intermediate_size", "num_key_value_heads", "tie_word_embeddings",
    ] {
      #expect(read.configuration[key] == tiny.configuration[key], "\(key)")
    }
    // Query rows really lie in another order in the file.
    let file = try GGUFFile(path: path)
    #expect(
      try file.tensor(named: "blk.0.attn_q.weight").floats()
        != before["model.layers.0.self_attn.q_proj.weight"]?.decoded().values)
    #expect(file.metadata["general.file_type"] == .uint32(0))
    #expect(file.metadata["general.architecture"] == .string("llama"))
  }

  @Test func theSameModelGivesTheSameBytes() throws {
    let first = try FileReading.readAll(write(tiny))
    #expect(try FileReading.readAll(write(tiny)) == first)
    let again = try write(ModelFormats.load(output.file("m.gguf"))) { _ in }
    #expect(try GGUFFile(path: again).tensors.count == GGUFFile(path: output.file("m.gguf")).tensors.count)
  }

  @Test(arguments: ["q8_0", "q4_0", "q5_1"]) func quantizedModelsKeepTheirBits(codec: String) throws {
    let recipe = QuantizationRecipe(methodName: "rtn", codec: try CodecRegistry.codec(named: codec))
    let quantized = try TestModels.quantized(tiny, recipe)
    let path = output.file("q.gguf")
    let container = try ModelContainers.container(named: nil, output: path)
    #expect(container.name == "gguf")
    try container.write(ModelExport(quantized), to: path)
    let read = try ModelFormats.load(path)
    for (name, weight) in quantized.weights where !tiny.derivedNames.contains(name) {
      let found = try read.requireCheckpoint()[name]
      #expect(found?.encodingName == weight.encodingName)
      #expect(try found?.decoded() == weight.decoded(), "\(name)")
    }
    #expect(read.configuration["adze_provenance"]?["recipe"]?["codec"]?.stringValue == codec)
    let file = try GGUFFile(path: path)
    #expect(file.tensors["blk.1.ffn_down.weight"]?.type.name == codec.uppercased())
    #expect(file.tensors["token_embd.weight"]?.type.name == "F32")
    #expect(file.metadata["general.quantization_version"] == .uint32(2))
    #expect(file.metadata["general.file_type"]?.intValue == ["q8_0": 7, "q4_0": 2, "q5_1": 9][codec])
  }

  @Test func whatGGUFCannotHoldIsRefused() throws {
    let container = try ModelContainers.container(named: "gguf", output: "")
    for codec in ["int4", "q4_k"] {
      let recipe = QuantizationRecipe(methodName: "rtn", codec: try CodecRegistry.codec(named: codec))
      let plan = try QuantizationPlan(recipe: recipe, graph: tiny.graph, weights: tiny.requireCheckpoint())
      let failure = TestModels.failure { try container.check(plan) }
      #expect(failure?.rendered.contains("gguf") == true, "\(codec)")
    }
  }

  @Test func partsAreOneModel() throws {
    let first = try write(tiny) { $0.partLimit.byteCount = 60_000 }
    #expect(first.hasSuffix("m-00001-of-0000\(output.entries.count).gguf"))
    #expect(output.entries.count > 1)
    let read = try ModelFormats.load(output.file(output.entries[1]))
    #expect(read.files.count == output.entries.count)
    #expect(try TestModels.logits(read) == TestModels.logits(tiny))
    #expect(try ModelInspection(path: first).json(withTensors: false)["family"] == "llama")
  }

  @Test func rotaryScalingTravels() throws {
    let scalings: [JSONValue] = [
      ["rope_type": "linear", "factor": .number(2)],
      ["rope_type": "yarn", "factor": .number(4), "original_max_position_embeddings": 32],
      [
        "rope_type": "llama3", "factor": .number(8), "low_freq_factor": .number(1),
        "high_freq_factor": .number(4), "original_max_position_embeddings": 64,
      ],
    ]
    for scaling in scalings {
      var configuration = tiny.configuration.objectValue ?? [:]
      configuration["rope_scaling"] = scaling
      directory.write(Array(JSONValue.object(configuration).serialized().utf8), to: "config.json")
      let model = try ModelFormats.load(directory.path)
      let read = try ModelFormats.load(write(model))
      #expect(read.configuration["rope_scaling"]?["rope_type"] == scaling["rope_type"])
      let (a, b) = (try TestModels.logits(read), try TestModels.logits(model))
      #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-5 }, "\(scaling.serialized())")
      #expect(try TestModels.logits(model) != TestModels.logits(tiny))
    }
  }

  @Test func foreignFilesAreRefusedByName() throws {
    let path = try write(tiny)
    func refusal(
      _ change: (
        inout OrderedDictionary<String, GGUFValue>, inout OrderedDictionary<String, GGUFTensorSource>
      ) throws -> Void
    ) throws -> String {
      let model = try GGUFCheckpoint(path: path)
      var metadata = model.metadata
      var tensors: OrderedDictionary<String, GGUFTensorSource> = [:]
      for name in model.tensors.keys { tensors[name] = try model.source(of: name) }
      try change(&metadata, &tensors)
      let changed = output.file("changed.gguf")
      try GGUFWriter.write(metadata: metadata, tensors: tensors, to: changed)
      return TestModels.failure { _ = try ModelFormats.load(changed) }?.rendered ?? "accepted"
    }
    #expect(
      try refusal { metadata, _ in metadata["general.architecture"] = .string("mamba") }.contains("mamba"))
    #expect(
      try refusal { metadata, _ in metadata["general.architecture"] = nil }.contains("general.architecture"))
    #expect(
      try refusal { metadata, _ in metadata["llama.expert_count"] = .uint32(4) }
        .contains("expert_used_count"))
    #expect(
      try refusal { _, tensors in tensors["blk.0.attn_q_norm.weight"] = tensors["output_norm.weight"] }
        .contains("attn_q_norm"))
    #expect(
      try refusal { _, tensors in tensors["blk.0.attn_v.scale"] = tensors["output_norm.weight"] }.contains(
        "attn_v.scale"))
    #expect(try refusal { _, tensors in tensors["blk.1.ffn_up.weight"] = nil }.contains("up_proj"))
    #expect(
      try refusal { _, tensors in tensors["blk.5.ffn_up.weight"] = tensors["blk.1.ffn_up.weight"] }.contains(
        "layers.5"))
    #expect(try refusal { _, tensors in tensors = [:] }.contains("vocabulary"))
    #expect(
      try refusal { metadata, _ in metadata["llama.attention.head_count_kv"] = .uint32(3) } != "accepted")
  }

  // MARK: What other tools wrote

  @Test(.enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func aPeersF16FileIsItsSource() throws {
    let source = try ModelFormats.load(SharedData.path("fixtures/llama-tiny"))
    let read = try ModelFormats.load(SharedData.path("fixtures/llama-tiny-f16.gguf"))
    for (name, weight) in try source.requireCheckpoint() where weight.shape.rank == 2 {
      let expected = try weight.decoded().values.map { Float(Float16($0)) }
      #expect(try read.requireCheckpoint()[name]?.decoded().values == expected, "\(name)")
    }
    let (a, b) = (try TestModels.logits(read), try TestModels.logits(source))
    #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-4 })
    #expect(read.configuration["rms_norm_eps"] == source.configuration["rms_norm_eps"])
  }

  /// Through weights under the checkpoint's names, with rows moved there and back: the whole file stays as it was.
  @Test(
    .enabled(if: SharedData.isAvailable, "the reference data is not here"),
    arguments: ["f16", "Q5_1", "Q4_K_M", "Q3_K_M", "Q2_K", "IQ4_XS"])
  func aPeersFileIsWrittenBackAsItWas(name: String) throws {
    let output = TemporaryDirectory()
    let path = SharedData.path("fixtures/llama-tiny-\(name).gguf")
    let source = try ModelFormats.load(path)
    try ModelContainers.container(named: "gguf", output: "").write(
      ModelExport(source: source, weights: source.requireCheckpoint(), history: .null),
      to: output.file("x.gguf"))
    #expect(try TestModels.bytes(output.file("x.gguf")) == TestModels.bytes(path))
  }

  /// Relative errors of the logits of a random model, which are larger than those of a trained one; swapped rows, scales or
  /// halves of blocks give 1 and more.
  @Test(
    .enabled(if: SharedData.isAvailable, "the reference data is not here"),
    arguments: [("Q5_1", 0.15), ("Q4_K_M", 0.3), ("Q3_K_M", 0.35), ("Q2_K", 0.7)])
  func aPeersQuantizedFilesAreNearTheirSource(name: String, bound: Float) throws {
    let source = try TestModels.logits(ModelFormats.load(SharedData.path("fixtures/llama-tiny")))
    let found = try TestModels.logits(ModelFormats.load(SharedData.path("fixtures/llama-tiny-\(name).gguf")))
    let error = zip(found, source).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let size = source.reduce(Float(0)) { $0 + $1 * $1 }
    #expect((error / size).squareRoot() < bound, "\((error / size).squareRoot())")
  }

  @Test(.enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func vocabulariesAreInspectedAndNoModels() throws {
    let path = SharedData.path("tokenizers/ggml-vocab-gpt-2.gguf")
    let facts = try ModelInspection(path: path).json(withTensors: false)
    #expect(facts["general.architecture"] == "gpt2" && facts["tokenizer"] == "gguf")
    #expect(TestModels.failure { _ = try ModelFormats.load(path) }?.rendered.contains("vocabulary") == true)
    #expect(try ModelFormats.tokenizer(path).vocabularyCount == 50257)
  }

  // MARK: Importance matrices

  @Test(arguments: ["s.imatrix.gguf", "s.dat"]) func importanceTravelsThroughOtherToolsFiles(name: String)
    throws
  {
    let windows = TestModels.tinyWindows()
    let statistics = try CalibrationStage(model: tiny, pool: TestModels.pool).run(
      windows: windows, withSecondMoments: false)
    let path = output.file(name)
    try CalibrationFiles.write(statistics, of: tiny, to: path, format: .init(path: path))
    let read = try CalibrationFiles.read(path, for: tiny)
    #expect(Set(read.groupOfWeight.keys) == Set(statistics.groupOfWeight.keys))
    for weight in statistics.groupOfWeight.keys {
      let expected = try statistics.statistics(for: weight)?.meanSquares ?? []
      let found = try read.statistics(for: weight)?.meanSquares ?? []
      #expect(found.count == expected.count)
      #expect(zip(found, expected).allSatisfy { abs($0 - $1) <= 1e-5 * $1 }, "\(weight)")
    }
    let merged = output.file("sum.gguf")
    #expect(try CalibrationFiles.merge([path, path], to: merged, format: nil).contains("14"))
    let twice = try CalibrationFiles.read(merged, for: tiny)
    let weight = "model.layers.1.mlp.down_proj.weight"
    let (a, b) = (
      try twice.statistics(for: weight)?.meanSquares, try read.statistics(for: weight)?.meanSquares
    )
    #expect(a != nil && zip(a ?? [], b ?? []).allSatisfy { abs($0 - $1) <= 1e-5 * $1 })
  }
}
