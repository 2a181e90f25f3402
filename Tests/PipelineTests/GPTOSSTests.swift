import Architectures
import Codecs
import GGUF
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// gpt-oss on the whole way: experts in stacks of numbers and of MXFP4 blocks.
@Suite(.serialized) struct GPTOSSTests {
  private let output = TemporaryDirectory()
  /// Made by `Tests/ArchitecturesTests/Goldens/make.py`, which checks the blocks against transformers' own conversion.
  private static let blocks = SharedData.projectRoot + "/Tests/PipelineTests/Goldens/gpt-oss-mxfp4"

  private func write(_ model: LoadedModel, as container: String, to name: String) throws -> String {
    let path = output.file(name)
    try ModelContainers.container(named: container, output: path).write(
      ModelExport(source: model, weights: model.requireCheckpoint(), history: .null), to: path)
    return path
  }

  @Test func blocksGiveTheKnownLogits() throws {
    let golden = try GoldenComparison(directory: Self.blocks, pool: TestModels.pool)
    for mode in [GoldenComparison.Mode.whole, .chunks, .tokens] {
      let error = try golden.error(mode)
      #expect(error <= 1e-5, "\(mode.rawValue): \(error)")
    }
    let encodings = try ModelFormats.load(Self.blocks).requireCheckpoint().values.map(\.encodingName)
    #expect(encodings.count { $0 == "mxfp4" } == 2 * 3 * 3)
  }

  @Test(arguments: ["gpt-oss", "gpt-oss-plain"]) func stacksAreWrittenAsTheyWereRead(name: String) throws {
    let source = FamilyTests.own + "/" + name
    let path = try write(ModelFormats.load(source), as: "safetensors", to: name)
    let (before, after) = (
      try SafetensorsCheckpoint(path: source).tensors, try SafetensorsCheckpoint(path: path).tensors
    )
    #expect(Set(before.keys) == Set(after.keys))
    for (name, tensor) in before {
      #expect(after[name]?.shape == tensor.shape && after[name]?.elementType == tensor.elementType, "\(name)")
      #expect(try after[name]?.floats() == tensor.floats(), "\(name)")
    }
  }

  @Test func quantizedExpertsComeBack() throws {
    let model = try ModelFormats.load(FamilyTests.own + "/gpt-oss")
    let quantized = try TestModels.quantized(model, try TestModels.recipe("rtn", "int8", group: 8))
    let path = output.file("packed")
    try ModelContainers.container(named: "compressed-tensors", output: path).write(quantized, to: path)
    let stored = try SafetensorsCheckpoint(path: path).tensors
    #expect(stored["model.layers.1.mlp.experts.4.gate_up_proj.weight_packed"] != nil)
    #expect(stored["model.layers.1.mlp.experts.gate_up_proj_bias"]?.shape.dimensions == [5, 144])
    let read = try ModelFormats.load(path).requireCheckpoint()
    for (name, weight) in quantized.weights where !model.derivedNames.contains(name) {
      #expect(try read[name]?.decoded() == weight.decoded(), "\(name)")
    }
  }

  /// From MXFP4 blocks to GGUF's and to numbers, with the same bits and logits.
  @Test func blocksGoIntoOtherContainers() throws {
    let model = try ModelFormats.load(Self.blocks)
    let tokens = (0..<40).map { Int32(($0 * 37 + 11) % 213) }
    let logits = try TestModels.logits(model, tokens)
    let path = try write(model, as: "gguf", to: "m.gguf")
    let file = try GGUFFile(path: path)
    #expect(file.tensors["blk.0.ffn_gate_exps.weight"]?.type.name == "MXFP4")
    #expect(file.tensors["blk.0.ffn_gate_exps.weight"]?.shape.dimensions == [3, 32, 64])
    #expect(file.tensors["blk.0.ffn_gate_exps.bias"]?.shape.dimensions == [3, 32])
    #expect(file.tensors["blk.1.attn_sinks.weight"]?.shape.dimensions == [4])
    let read = try ModelFormats.load(path)
    #expect(read.warnings.isEmpty, "\(read.warnings)")
    #expect(try TestModels.logits(read, tokens) == logits)
    for (name, weight) in try model.requireCheckpoint() {
      #expect(try read.requireCheckpoint()[name]?.decoded() == weight.decoded(), "\(name)")
    }
  }
}
