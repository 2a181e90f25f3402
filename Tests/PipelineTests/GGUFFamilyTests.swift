import Architectures
import Calibration
import Codecs
import GGUF
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// Every family that GGUF knows, from its goldens to GGUF and back: configuration, weights and logits.
@Suite(.serialized) struct GGUFFamilyTests {
  private let output = TemporaryDirectory()

  /// Goldens that such files cannot express, with what they are refused for.
  static let refused = [
    "falcon-rw": "order of residual sums", "gpt2-inner": "activation", "llama-dynamic": "rope_scaling",
    "smollm3": "rotary positions of layer 1", "smollm3-window": "rotary positions of layer 1",
    "deepseek3-plain": "rope_interleave", "gptj": "model_type", "opt": "model_type",
    "gpt-oss-plain": "feed-forward of layer 0", "opt-after": "model_type", "opt-narrow": "model_type",
    "gpt2-by-layer": "attention scale by layer",
  ]

  /// What llama.cpp would not do as it is meant, of which converting warns; all other goldens have no such thing.
  static let remarks = [
    "mistral-window": ["window of 16"], "qwen2-window": ["window of 7"], "starcoder2": ["window of 11"],
    "phi3-short": ["window of 13"], "gemma2": ["gemma2.attention.scale"],
    "gemma2-plain": ["gemma2.attention.scale"], "gemma3": ["gemma3.attention.scale"],
    "qwen3-bias": ["attn_output.bias"], "phi-norms": ["attn_q_norm"], "falcon-new": ["biases"],
    "qwen3-moe-mixed": ["expert_weights_norm", "no experts"],
    "cohere-norms": ["attn_output.bias", "a head of its own", "2 layers with norms"],
    "cohere-one-key": ["2 layers with norms"],
    "deepseek2": ["square of the magnitude"], "deepseek3": ["unrotated columns"],
    "deepseek2-groups": ["biases", "sum of their two best"],
    "ernie4-5-bias": ["ffn_up.bias"], "olmo3": ["one base"],
    "gpt-oss": ["yarn's ramp"],
    "olmoe-clip": ["clamp_kqv", "expert_weights_norm", "attn_output.bias", "fewer key heads"],
    "seed-oss": ["attn_output.bias", "ffn_up.bias"],
  ]

  static var directories: [String] {
    FamilyTests.directories.filter { refused[name($0)] == nil }
  }

  static func name(_ directory: String) -> String { FileReading.fileName(directory) }

  private func write(_ model: LoadedModel, to name: String) throws -> String {
    let path = output.file(name)
    try ModelContainers.container(named: "gguf", output: path).write(
      ModelExport(source: model, weights: model.requireCheckpoint(), history: .null), to: path)
    return path
  }

  @Test(arguments: directories) func goldensComeBack(directory: String) throws {
    let model = try ModelFormats.load(directory)
    let read = try ModelFormats.load(write(model, to: "m.gguf"))
    #expect(read.warnings.isEmpty, "\(read.warnings)")
    let (sizes, found) = (model.summary.sizes, read.summary.sizes)
    #expect(sizes == found, "\(sizes) \(found)")
    try expectSameWeights(read, model)
    let tokens = (0..<40).map { Int32(($0 * 37 + 11) % sizes.vocabularySize) }
    let logits = try TestModels.logits(model, tokens)
    #expect(try TestModels.logits(read, tokens) == logits)
    // From there to a checkpoint of the family's own kind, whose tensors lie otherwise.
    let path = output.file("hf")
    try ModelContainers.container(named: "safetensors", output: path).write(
      ModelExport(source: read, weights: read.requireCheckpoint(), history: .null), to: path)
    let again = try ModelFormats.load(path)
    #expect(again.rearrangements.keys == model.rearrangements.keys)
    #expect(try TestModels.logits(again, tokens) == logits)
  }

  /// Norms that files shift may lose their last bits; what is computed with them does not. Where the loader wants a head, the
  /// embedding comes back as that, too.
  private func expectSameWeights(_ read: LoadedModel, _ model: LoadedModel) throws {
    let (before, after) = (try model.requireCheckpoint(), try read.requireCheckpoint())
    let copies = Set(after.keys).subtracting(before.keys)
    #expect(Set(before.keys).isSubset(of: after.keys) && copies.isSubset(of: ["lm_head.weight"]), "\(copies)")
    for copy in copies {
      let table = try before["model.embed_tokens.weight"]?.decoded()
      #expect(try after[copy]?.decoded() == table, "\(copy)")
    }
    for (name, weight) in before {
      let (values, other) = (try weight.decoded().values, try after[name]?.decoded().values ?? [])
      #expect(weight.shape == after[name]?.shape, "\(name)")
      #expect(
        values.count == other.count
          && zip(values, other).allSatisfy { abs($0 - $1) <= 6e-8 * max(1, abs($0)) },
        "\(name)")
    }
  }

  @Test(arguments: directories) func whatPeersComputeOtherwiseIsSaid(directory: String) throws {
    let container = try ModelContainers.container(named: "gguf", output: "")
    let remarks = try container.remarks(on: ModelFormats.load(directory))
    let expected = Self.remarks[Self.name(directory)] ?? []
    #expect(remarks.count == expected.count, "\(remarks)")
    for part in expected { #expect(remarks.contains { $0.contains(part) }, "\(part): \(remarks)") }
  }

  @Test(arguments: FamilyTests.directories.filter { refused[name($0)] != nil })
  func whatFilesCannotSayIsRefused(directory: String) throws {
    let model = try ModelFormats.load(directory)
    let failure = TestModels.failure { _ = try write(model, to: "m.gguf") }
    let what = Self.refused[Self.name(directory)] ?? "?"
    #expect(failure?.rendered.contains(what) == true, "\(failure?.rendered ?? "written")")
    #expect(!FileReading.exists(output.file("m.gguf")))
  }

  /// A file with the tensors of `golden`'s changed.
  private func rewritten(
    _ golden: String, metadata change: (inout OrderedDictionary<String, GGUFValue>) -> Void = { _ in },
    _ tensors: (String, Tensor) throws -> [(String, Tensor)]
  ) throws -> (LoadedModel, LoadedModel) {
    let directory = try #require(Self.directories.first { Self.name($0) == golden })
    let model = try ModelFormats.load(directory)
    let file = try GGUFFile(path: write(model, to: "m.gguf"))
    var sources: OrderedDictionary<String, GGUFTensorSource> = [:]
    for name in file.tensors.keys {
      for (name, tensor) in try tensors(name, file.tensor(named: name)) {
        sources[name] = try GGUFTensorSource(tensor)
      }
    }
    var metadata = file.metadata
    change(&metadata)
    try GGUFWriter.write(metadata: metadata, tensors: sources, to: output.file("changed.gguf"))
    return (model, try ModelFormats.load(output.file("changed.gguf")))
  }

  /// Newer files hold the projection to keys and values in two tensors, keys transposed, and tell widths by other keys.
  @Test(arguments: [("deepseek2", 8), ("deepseek3", 7)])
  func splitLatentProjectionsAreJoined(golden: String, plain: Int) throws {
    let (heads, rank, value) = (4, 18, 9)
    let width = plain + value
    let (model, read) = try rewritten(golden) { metadata in
      for (key, size) in [("key", plain + 6), ("value", value)] {
        metadata["deepseek2.attention.\(key)_length_mla"] = .uint32(UInt32(size))
      }
      metadata["deepseek2.attention.key_length"] = .uint32(24)
      metadata["deepseek2.attention.value_length"] = .uint32(18)
      metadata["deepseek2.attention.head_count_kv"] = .uint32(1)
    } _: { name, tensor in
      guard name.hasSuffix("attn_kv_b.weight") else { return [(name, tensor)] }
      let floats = try tensor.floats()
      var (keys, values): ([Float], [Float]) = ([], [])
      for head in 0..<heads {
        for column in 0..<rank {
          for row in 0..<plain { keys.append(floats[(head * width + row) * rank + column]) }
        }
        for row in plain..<width {
          values += floats[(head * width + row) * rank..<(head * width + row + 1) * rank]
        }
      }
      let prefix = name.dropLast("kv_b.weight".count)
      return [
        (prefix + "k_b.weight", try Tensor(keys, shape: Shape([heads, rank, plain]))),
        (prefix + "v_b.weight", try Tensor(values, shape: Shape([heads, value, rank]))),
      ]
    }
    try expectSameWeights(read, model)
    #expect(try TestModels.logits(read) == TestModels.logits(model))
  }

  /// Blocks that predict further tokens lie behind the others in files of GLM, and count as blocks there.
  @Test func blocksForFurtherTokensArePassedOver() throws {
    let (model, read) = try rewritten("glm4-moe") { metadata in
      metadata["glm4moe.block_count"] = .uint32(3)
      metadata["glm4moe.nextn_predict_layers"] = .uint32(1)
    } _: { name, tensor in
      guard name.hasPrefix("blk.1.") else { return [(name, tensor)] }
      let last = "blk.2." + name.dropFirst("blk.1.".count)
      return [
        (name, tensor), (last, tensor), ("blk.2.nextn.enorm.weight", try Tensor([1] as [Float], shape: [1])),
      ]
    }
    #expect(read.summary.sizes.layerCount == 2)
    #expect(try TestModels.logits(read) == TestModels.logits(model))
  }

  /// Where a family has one projection for queries, keys and values, a file may have three.
  @Test(arguments: [("phi3-partial", 40, 20), ("falcon", 40, 10)])
  func separateProjectionsAreFused(golden: String, queries: Int, keys: Int) throws {
    let (model, read) = try rewritten(golden) { name, tensor in
      guard let suffix = [".weight", ".bias"].first(where: { name.hasSuffix("attn_qkv" + $0) }) else {
        return [(name, tensor)]
      }
      let bounds = [0, queries, queries + keys, tensor.shape.dimensions[0]]
      let prefix = name.dropLast("qkv".count + suffix.count)
      return try ["q", "k", "v"].enumerated().map { index, part in
        (prefix + part + suffix, try tensor.selecting(rows: Array(bounds[index]..<bounds[index + 1])))
      }
    }
    try expectSameWeights(read, model)
    #expect(try TestModels.logits(read) == TestModels.logits(model))
  }

  /// Rows of experts are quantized one by one and lie in one tensor; splitting it gives the same bits.
  @Test(arguments: ["q8_0", "q4_k", "mxfp4"], [false, true])
  func quantizedExpertsComeBackToTheBit(codec: String, isShared: Bool) throws {
    let directory = TemporaryDirectory()
    try TestModels.writeExperts(to: directory, isShared: isShared)
    let model = try ModelFormats.load(directory.path)
    let recipe = QuantizationRecipe(methodName: "rtn", codec: try CodecRegistry.codec(named: codec))
    let quantized = try TestModels.quantized(model, recipe)
    let path = output.file("q.gguf")
    try ModelContainers.container(named: "gguf", output: path).write(quantized, to: path)
    let file = try GGUFFile(path: path)
    #expect(file.tensors["blk.0.ffn_gate_exps.weight"]?.shape.dimensions == [3, 512, 256])
    #expect(file.tensors["blk.0.ffn_down_exps.weight"]?.type.name == codec.uppercased())
    let read = try ModelFormats.load(path).requireCheckpoint()
    for (name, weight) in quantized.weights where !model.derivedNames.contains(name) {
      // A matrix of one row is a vector there, of the values that its codes stand for.
      if !name.hasSuffix("shared_expert_gate.weight") {
        #expect(read[name]?.encodingName == weight.encodingName, "\(name)")
      }
      #expect(try read[name]?.decoded() == weight.decoded(), "\(name)")
    }
  }

  /// Converters can put tensors together that loaders take apart: queries, keys and values, and gates with what they open.
  @Test(arguments: ["llama-odd", "qwen2-moe", "llama-yarn"]) func fusedTensorsAreTakenApart(name: String)
    throws
  {
    let model = try ModelFormats.load(FamilyTests.own + "/" + name)
    let file = try GGUFFile(path: write(model, to: "m.gguf"))
    var tensors: OrderedDictionary<String, GGUFTensorSource> = [:]
    var joined = 0
    func join(_ target: String, _ sources: [String]) throws {
      guard sources.allSatisfy({ tensors[$0] != nil }) else { return }
      let parts = try sources.map { try file.tensor(named: $0) }
      // Rows of one are behind those of the other in each of the stacked matrices.
      let stacks = parts[0].shape.rank == 3 ? parts[0].shape.dimensions[0] : 1
      var values: [Float] = []
      for stack in 0..<stacks {
        for part in parts {
          let count = part.shape.elementCount / stacks
          values += try part.floats(elements: stack * count..<(stack + 1) * count)
        }
      }
      var dimensions = parts[0].shape.dimensions
      let axis = dimensions.count == 3 ? 1 : 0
      dimensions[axis] = parts.reduce(0) { $0 + $1.shape.dimensions[axis] }
      for source in sources { tensors[source] = nil }
      tensors[target] = try GGUFTensorSource(Tensor(values, shape: Shape(dimensions)))
      joined += 1
    }
    for name in file.tensors.keys { tensors[name] = try GGUFTensorSource(file.tensor(named: name)) }
    for layer in 0..<2 {
      for suffix in ["weight", "bias"] {
        let prefix = "blk.\(layer).attn_"
        try join("\(prefix)qkv.\(suffix)", ["q", "k", "v"].map { "\(prefix)\($0).\(suffix)" })
      }
      let prefix = "blk.\(layer).ffn_"
      try join(prefix + "gate_up_exps.weight", [prefix + "gate_exps.weight", prefix + "up_exps.weight"])
    }
    #expect(joined == (name == "qwen2-moe" ? 6 : name == "llama-odd" ? 4 : 2))
    let path = output.file("fused.gguf")
    try GGUFWriter.write(metadata: file.metadata, tensors: tensors, to: path)
    let read = try ModelFormats.load(path)
    #expect(try TestModels.logits(read) == TestModels.logits(model))
    // Rows that are too few are an error that names the tensor.
    tensors["blk.0.attn_qkv.weight"] = try GGUFTensorSource(file.tensor(named: "blk.0.attn_q.weight"))
    try GGUFWriter.write(metadata: file.metadata, tensors: tensors, to: path)
    #expect(TestModels.failure { _ = try ModelFormats.load(path) }?.rendered.contains("attn_qkv") == true)
  }

  /// Importance of experts lies in one entry, a count for each.
  @Test func importanceOfExpertsTravels() throws {
    let directory = TemporaryDirectory()
    try TestModels.writeExperts(to: directory, isShared: true)
    let model = try ModelFormats.load(directory.path)
    let statistics = try CalibrationStage(model: model, pool: TestModels.pool).run(
      windows: TestModels.tinyWindows(count: 2), withSecondMoments: false)
    let path = output.file("experts.imatrix.gguf")
    try CalibrationFiles.write(statistics, of: model, to: path, format: .imatrix)
    let counts = try GGUFFile(path: path).tensor(named: "blk.0.ffn_down_exps.weight.counts").floats()
    #expect(counts.count == 3 && counts.reduce(0, +) == 2 * 2 * 32)
    let read = try CalibrationFiles.read(path, for: model)
    #expect(Set(read.groupOfWeight.keys) == Set(statistics.groupOfWeight.keys))
    for weight in statistics.groupOfWeight.keys {
      let expected = try statistics.statistics(for: weight)
      let found = try read.statistics(for: weight)
      #expect(found?.tokenCount == expected?.tokenCount, "\(weight)")
      let pairs = zip(found?.meanSquares ?? [], expected?.meanSquares ?? [])
      #expect(pairs.allSatisfy { abs($0 - $1) <= 1e-5 * $1 }, "\(weight)")
    }
  }
}
