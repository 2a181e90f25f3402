import Codecs
import Kernels
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Each illness is given to a healthy model; the doctor must name it, and nothing else of its kind.
@Suite(.serialized) struct DoctorTests {
  let output = TemporaryDirectory()

  /// A copy of acorn whose configuration and tensors were changed.
  private func patient(
    configuration change: (inout JSONObject) -> Void = { _ in },
    tensors edit: (inout OrderedDictionary<String, Tensor>) throws -> Void = { _ in }
  ) throws -> String {
    let source = TestModels.acornPath
    let path = output.file("patient")
    var configuration = try JSONValue.parse(contentsOf: source + "/config.json").objectValue ?? [:]
    change(&configuration)
    var tensors = try SafetensorsCheckpoint(path: source).tensors
    try edit(&tensors)
    try AtomicDirectory.write(to: path, overwrite: true) { directory in
      try SafetensorsWriter.writeCheckpoint(sources: tensors.mapValues { TensorSource($0) }, to: directory)
      try AtomicFile.write(
        Array(JSONValue.object(configuration).serialized().utf8), to: directory + "/config.json")
      for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]
      where FileReading.exists(source + "/" + name) {
        try AtomicFile.write(
          FileReading.readAll(source + "/" + name, limit: 1 << 24), to: directory + "/" + name)
      }
    }
    return path
  }

  private func findings(_ path: String, runsModel: Bool = false) throws -> [Finding] {
    try ModelDoctor(path: path, runsModel: runsModel, pool: TestModels.pool).run()
  }

  private func serious(_ path: String, runsModel: Bool = false) throws -> [String] {
    try findings(path, runsModel: runsModel).filter { $0.severity != .note }.map {
      "\($0.severity.rawValue) \($0.check)"
    }
  }

  @Test func aHealthyModelHasNothing() throws {
    #expect(try serious(TestModels.acornPath, runsModel: true).isEmpty)
    #expect(try serious(patient(), runsModel: true).isEmpty)
  }

  @Test func notANumberIsFound() throws {
    let name = "model.layers.2.mlp.up_proj.weight"
    let path = try patient(tensors: { tensors in
      let tensor = try #require(tensors[name])
      var values = try tensor.floats()
      values[tensor.shape.columns * 3 + 5] = .nan
      tensors[name] = try Tensor(values, shape: tensor.shape)
    })
    let found = try findings(path).filter { $0.severity == .error }
    #expect(found.map(\.subject) == [name])
    #expect(found.first?.message.contains("row 3, column 5") == true, "\(found)")
  }

  @Test func rowsInTheOrderOfAnotherFormatAreFound() throws {
    let path = try patient(tensors: { tensors in
      for name in tensors.keys where name.hasSuffix("q_proj.weight") || name.hasSuffix("k_proj.weight") {
        let tensor = try #require(tensors[name])
        let order = (0..<tensor.shape.rows).map { row in
          row / 32 * 32 + row % 2 * 16 + row % 32 / 2
        }
        tensors[name] = try tensor.selecting(rows: order)
      }
    })
    #expect(try serious(path, runsModel: true) == ["error rotary-order"])
    #expect(try serious(path).isEmpty, "only running the model shows it")
  }

  @Test func randomWeightsAreNotAnOrderOfRows() throws {
    var generator = SeededGenerator(seed: 5)
    let path = try patient(tensors: { tensors in
      for (name, tensor) in tensors where tensor.shape.rank == 2 {
        let values = (0..<tensor.shape.elementCount).map { _ in
          Float.random(in: -0.5...0.5, using: &generator)
        }
        tensors[name] = try Tensor(values, shape: tensor.shape)
      }
    })
    #expect(try serious(path, runsModel: true) == ["warning plain-text"])
  }

  @Test func aMissingHeadIsFound() throws {
    let path = try patient(
      configuration: { $0["tie_word_embeddings"] = false }, tensors: { $0["lm_head.weight"] = nil })
    #expect(try serious(path).contains("error output-head"))
  }

  @Test func absentCacheScalesAreFound() throws {
    let scheme: JSONValue = ["num_bits": 8, "type": "float", "dynamic": false]
    let quantization: JSONValue = [
      "quant_method": "compressed-tensors", "format": "dense", "config_groups": [:], "ignore": [],
      "kv_cache_scheme": scheme,
    ]
    let path = try patient(configuration: { $0["quantization_config"] = quantization })
    #expect(try serious(path).contains("error cache-scales"))
  }

  @Test func aForeignTokenizerIsFound() throws {
    let path = try patient(
      configuration: { $0["vocab_size"] = 4000 },
      tensors: { tensors in
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
          if let tensor = tensors[name] { tensors[name] = try tensor.slice(rows: 0..<4000) }
        }
      })
    #expect(try serious(path).contains("error vocabulary"))
  }

  @Test(arguments: ["gptq", "gptq_v2"]) func mislabelledZeroPointsAreFound(_ label: String) throws {
    let recipe = QuantizationRecipe(
      methodName: "rtn", codec: try CodecRegistry.codec(canonicalName: "int4-g32-sym"))
    let result = try QuantizationStage(
      model: TestModels.acorn(), recipe: recipe, pool: TestModels.pool
    ).run(calibration: .none)
    let path = output.file(label)
    try ModelContainers.container(named: label == "gptq" ? "gptq-v2" : "gptq", output: path).write(
      result, to: path)
    #expect(try serious(path).isEmpty)
    for name in ["config.json", "quantize_config.json"] {
      let text = String(decoding: try FileReading.readAll(path + "/" + name, limit: 1 << 20), as: UTF8.self)
      let other = label == "gptq" ? "gptq_v2" : "gptq"
      let changed = text.replacing(
        "\"checkpoint_format\": \"\(other)\"", with: "\"checkpoint_format\": \"\(label)\"")
      #expect(changed != text, "\(name) has no label")
      try AtomicFile.write(Array(changed.utf8), to: path + "/" + name)
    }
    #expect(try serious(path).contains("error zero-points"))
  }

  @Test func whatCannotBeReadIsAFinding() throws {
    let path = output.file("broken")
    try AtomicDirectory.write(to: path, overwrite: false) { directory in
      try AtomicFile.write(Array("{\"model_type\": \"llama\"".utf8), to: directory + "/config.json")
    }
    #expect(try serious(path) == ["error read"])
    #expect(throws: PipelineError.self) { _ = try findings(output.file("nothing")) }
  }
}
