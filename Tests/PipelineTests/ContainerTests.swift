import Calibration
import Codecs
import Execution
import OrderedCollections
import PackedModel
import Pipeline
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite(.serialized) struct ContainerTests {
  let directory = TemporaryDirectory()
  let output = TemporaryDirectory()
  let tiny: LoadedModel

  init() throws {
    try TestModels.writeTiny(to: directory)
    tiny = try ModelFormats.load(directory.path)
  }

  private func recipes() throws -> [QuantizationRecipe] {
    [
      try TestModels.recipe("gptq", "int4", group: 32),
      try TestModels.recipe("rtn", "int4", group: 32, symmetric: false),
      try TestModels.recipe("rtn", "int8", group: -1),
      try TestModels.recipe("rtn", "int8", group: 32, symmetric: false),
    ]
  }

  private func quantized(_ recipe: QuantizationRecipe) throws -> QuantizedModel {
    try TestModels.quantized(tiny, recipe, .windows(TestModels.tinyWindows()))
  }

  @Test func directoriesAreReadAsTheyWereWritten() throws {
    for recipe in try recipes() {
      let result = try quantized(recipe)
      let path = output.file(recipe.methodName + recipe.codec.canonicalName)
      try ModelContainers.container(named: nil, output: path).write(result, to: path)
      let read = try ModelFormats.load(path)
      #expect(try TestModels.decoded(read.requireWeights) == TestModels.decoded(result.weights), "\(path)")
      #expect(try LanguageModel(read).bitsPerWeight == result.bitsPerWeight)
      #expect(read.configuration["adze_provenance"]?["recipe"]?["method"]?.stringValue == recipe.methodName)
      #expect(read.warnings.isEmpty, "\(read.warnings)")
    }
  }

  @Test(arguments: [("int4", 32), ("q4_0", nil), ("fp8_e4m3", nil), ("iq4_nl", nil), ("nf4", 32)])
  func packingSaysWhichCodesBecomeNumbers(codec: String, group: Int?) throws {
    let made = try CodecRegistry.codec(named: codec, CodecParameters(groupSize: group))
    let result = try quantized(QuantizationRecipe(methodName: "rtn", codec: made))
    let widened = ["iq4_nl", "nf4"].contains(codec)
    let packed = try ModelContainers.container(named: "adze", output: "")
    let warnings = try packed.warnings(for: ModelExport(result))
    #expect(warnings.count == (widened ? 1 : 0), "\(warnings)")
    let sizes = try [PackOptions.Layout.panel16, .canonical].map { layout in
      try PackStage(ModelExport(result), options: PackOptions(layout: layout))
        .write(to: output.file(layout.rawValue)).byteCount
    }
    #expect((sizes[0] > sizes[1] * 5 / 4) == widened, "\(sizes)")
  }

  @Test func aShippedModelSurvivesExportWithItsTokenizer() throws {
    let acorn = try TestModels.acorn()
    let result = try TestModels.quantized(acorn, TestModels.recipe(group: 64))
    let path = output.file("acorn")
    try ModelContainers.container(named: "compressed-tensors", output: path).write(result, to: path)
    let read = try ModelFormats.load(path)
    #expect(read.tokenizer?.bytes == acorn.tokenizer?.bytes)
    #expect(FileReading.exists(path + "/generation_config.json"))
    try pack(read, to: output.file("acorn.adze"), PackOptions(compresses: true))
    let packed = try ModelFormats.load(output.file("acorn.adze"))
    #expect(packed.tokenizer?.bytes == acorn.tokenizer?.bytes)
    #expect(packed.summary == acorn.summary)
    let tokens: [Int32] = [0, 100, 2000, 4095, 17, 5]
    let options = ExecutionOptions()
    #expect(
      try TestModels.logits(packed, tokens, options: options)
        == TestModels.logits(read, tokens, options: options))
  }

  private func pack(_ model: LoadedModel, to path: String, _ options: PackOptions) throws {
    _ = try PackStage(model, options: options).write(to: path)
  }

  @Test func packedModelsComputeTheSameBits() throws {
    var sources = [tiny]
    for (index, recipe) in try recipes().enumerated() {
      let path = output.file("source\(index)")
      try ModelContainers.container(named: nil, output: path).write(quantized(recipe), to: path)
      sources.append(try ModelFormats.load(path))
    }
    for (index, source) in sources.enumerated() {
      for layout in [PackOptions.Layout.panel16, .canonical] {
        for compresses in [false, true] {
          let path = output.file("\(index)-\(layout)-\(compresses).adze")
          try pack(source, to: path, PackOptions(layout: layout, compresses: compresses))
          let packed = try ModelFormats.load(path)
          #expect(try TestModels.logits(packed) == TestModels.logits(source), "\(path)")
          let int8 = ExecutionOptions()
          #expect(
            try TestModels.logits(packed, options: int8) == TestModels.logits(source, options: int8),
            "\(path)")
          let bits = try LanguageModel(packed).bitsPerWeight
          #expect(bits == (try LanguageModel(source).bitsPerWeight))
          #expect(
            try PackedFile(path: path, supportedFeatures: PackOptions.supportedFeatures).verify().isEmpty)
        }
      }
    }
  }

  @Test func aQuantizedModelPacksAsItsExportWould() throws {
    let result = try quantized(TestModels.recipe("gptq"))
    try ModelContainers.container(named: nil, output: "x").write(result, to: output.file("x"))
    try ModelContainers.container(named: nil, output: "x.adze").write(result, to: output.file("x.adze"))
    let direct = try ModelFormats.load(output.file("x.adze"))
    #expect(try TestModels.logits(direct) == TestModels.logits(ModelFormats.load(output.file("x"))))
    guard case .packed(_, let description) = direct.content else {
      Issue.record("not packed")
      return
    }
    #expect(
      description.provenance["history"]?["recipe"]?["codec"]?.stringValue == result.recipe.codec.canonicalName
    )
    #expect(description.provenance["sources"]?.arrayValue?.count == 1)
    #expect(TestModels.failure { _ = try PackStage(direct, options: .init()) }?.code == "model.unsupported")
  }

  @Test func theInputIsNeverTheOutput() throws {
    let weights = directory.file("model.safetensors")
    let before = try TestModels.bytes(weights)
    let result = try quantized(TestModels.recipe())
    for (container, path) in [("adze", weights), ("compressed-tensors", directory.path)] {
      let failure = TestModels.failure {
        try ModelContainers.container(named: container, output: "").write(result, to: path)
      }
      #expect(failure?.code == "output.is-input")
      #expect(failure?.status == .usage)
    }
    #expect(TestModels.failure { try pack(tiny, to: weights, .init()) }?.code == "output.is-input")
    #expect(try TestModels.bytes(weights) == before)
    #expect(directory.entries == ["config.json", "model.safetensors"])
  }

  @Test func aFullDirectoryIsNotOverwritten() throws {
    let container = try ModelContainers.container(named: "compressed-tensors", output: "")
    output.write([1], to: "precious")
    #expect(
      TestModels.failure { try container.write(quantized(TestModels.recipe()), to: output.path) } != nil)
    #expect(output.entries == ["precious"])
  }

  @Test func containersSayWhatTheyCannotHold() throws {
    let recipe = try TestModels.recipe("rtn", "int4", group: 40)
    let plan = try QuantizationPlan(recipe: recipe, graph: tiny.graph, weights: tiny.requireWeights)
    let failure = TestModels.failure {
      try ModelContainers.container(named: "compressed-tensors", output: "").check(plan)
    }
    #expect(failure?.message.contains("whole groups") == true)
    try ModelContainers.container(named: "adze", output: "").check(plan)
    #expect(
      TestModels.failure { _ = try ModelContainers.container(named: "tar", output: "") }?.status == .usage)
    #expect(Set(ModelContainers.entries.map(\.name)).count == ModelContainers.entries.count)
    for entry in ModelContainers.entries { #expect(!entry.summary.isEmpty) }
  }

  @Test func whatIsNoModelIsNamed() throws {
    #expect(TestModels.failure { _ = try ModelFormats.load("/no/such/model") }?.status == .missingInput)
    let cases: [([UInt8], String)] = [
      ([], "empty"), (Array("PK\u{3}\u{4}....".utf8), "pickle"), ([0x80, 2, 0, 0], "pickle"),
      ([1, 2, 3], "bytes 1 2 3"),
    ]
    for (bytes, words) in cases {
      let path = output.write(bytes, to: "odd.safetensors")
      let failure = TestModels.failure { _ = try ModelFormats.load(path) }
      #expect(failure?.status == .badInput)
      #expect(failure?.rendered.contains(words) == true, "\(failure?.rendered ?? "")")
    }
    #expect(TestModels.failure { _ = try ModelFormats.load(output.path) }?.status == .badInput)
  }
}
