import Codecs
import GGUF
import Kernels
import OrderedCollections
import Pipeline
import SafeIO
import TensorCore
import TestSupport
import Testing
import Tokenizers

@Suite(.serialized) struct ConversionTests {
  let output = TemporaryDirectory()

  private func load(_ name: String) throws -> LoadedModel { try ModelFormats.load(output.file(name)) }

  /// Converts and proves.
  @discardableResult
  private func convert(
    _ model: LoadedModel, to name: String, container: String? = nil, type: ElementType? = nil,
    codec: String? = nil, dequantizes: Bool = false
  ) throws -> ConversionProof {
    let path = output.file(name)
    let request = ConversionRequest(
      container: try ModelContainers.converting(model, to: path, named: container), elementType: type,
      codec: try codec.map { try CodecRegistry.codec(canonicalName: $0) }, search: .extremes,
      dequantizes: dequantizes)
    let plan = try ConversionPlan(request, of: model)
    try ConversionStage(model: model, plan: plan, pool: TestModels.pool).write(to: path)
    return try ConversionProof(plan: plan, source: model, written: path, pool: TestModels.pool)
  }

  private func quantized(_ codec: String) throws -> LoadedModel {
    let recipe = QuantizationRecipe(
      methodName: "rtn", codec: try CodecRegistry.codec(canonicalName: codec))
    let acorn = try TestModels.acorn()
    let result = try QuantizationStage(model: acorn, recipe: recipe, pool: TestModels.pool).run(
      calibration: .none)
    let path = output.file("quantized-\(codec)")
    try ModelContainers.container(named: "compressed-tensors", output: path).write(result, to: path)
    return try ModelFormats.load(path)
  }

  @Test func thereAndBackIsTheSame() throws {
    let acorn = try TestModels.acorn()
    let there = try convert(acorn, to: "acorn.gguf")
    #expect(there.worst?.maximumDifference == 0 && there.exactCount == there.rows.count)
    let back = try convert(load("acorn.gguf"), to: "back", type: .bf16)
    #expect(back.worst?.maximumDifference == 0)
    let first = try acorn.requireCheckpoint()
    let second = try load("back").requireCheckpoint()
    for (name, weight) in first where !acorn.derivedNames.contains(name) {
      let other = try #require(second[name], "\(name)")
      #expect(try weight.decoded() == other.decoded(), "\(name)")
    }
  }

  /// Codes wander through four layouts and come back; no value moves.
  @Test func codesMoveBetweenLayoutsWithoutLoss() throws {
    var model = try quantized("int4-g32-sym")
    let original = try model.requireCheckpoint()
    for (name, container) in [
      ("gptq", "gptq"), ("q.gguf", "gguf"), ("ct", "compressed-tensors"), ("v2", "gptq-v2"),
    ] {
      let proof = try convert(model, to: name, container: container)
      #expect(proof.worst?.maximumDifference == 0, "\(name)")
      model = try load(name)
    }
    let final = try model.requireCheckpoint()
    for (name, weight) in original where !model.derivedNames.contains(name) {
      #expect(try weight.decoded() == final[name]?.decoded(), "\(name)")
    }
    #expect(final.values.contains { $0.encodingName == "int4-g32-sym" })
  }

  @Test func asymmetricCodesFindTheirWay() throws {
    let model = try quantized("int4-g32-asym")
    #expect(try convert(model, to: "awq", container: "awq").worst?.maximumDifference == 0)
    #expect(try load("awq").requireCheckpoint().values.contains { $0.encodingName == "int4-g32-asym" })
    // Zero points need five bits around a fixed middle, and then stay exact.
    #expect(try convert(model, to: "asym.gguf").worst?.maximumDifference == 0)
    #expect(try load("asym.gguf").requireCheckpoint().values.contains { $0.encodingName == "q5_0" })
  }

  @Test func roundingIsMeasured() throws {
    let acorn = try TestModels.acorn()
    let proof = try convert(acorn, to: "q8.gguf", codec: "q8_0")
    let rounded = proof.rows.filter { $0.verdict == .rounded }
    #expect(rounded.count == 56)
    for row in rounded {
      #expect(row.maximumDifference > 0 && row.maximumDifference < row.maximumMagnitude / 127, "\(row)")
      #expect(row.relativeError > 1e-4 && row.relativeError < 0.02, "\(row)")
    }
    // The file holds what the codec makes of each weight.
    let written = try load("q8.gguf").requireCheckpoint()
    let name = rounded[0].name
    let codec = try CodecRegistry.codec(canonicalName: "q8_0")
    let direct = try codec.encode(
      try #require(acorn.requireCheckpoint()[name]).decoded(), importance: nil, search: .extremes)
    #expect(try written[name]?.decoded() == direct.decoded())
  }

  @Test func partsAreWrittenProvedAndReadAsOne() throws {
    let acorn = try TestModels.acorn()
    for limit in [PartLimit(byteCount: 1_000_000), PartLimit(tensorCount: 30)] {
      let path = output.file("parts.gguf")
      let request = ConversionRequest(
        container: try ModelContainers.container(named: "gguf", output: ""),
        codec: try CodecRegistry.codec(canonicalName: "q8_0"), search: .extremes,
        partLimit: limit)
      let plan = try ConversionPlan(request, of: acorn)
      let stage = try ConversionStage(model: acorn, plan: plan, pool: TestModels.pool)
      let files = try #require(try stage.files(for: path))
      let first = try stage.write(to: path)
      #expect(first == files[0].path && first.hasSuffix("parts-00001-of-0000\(files.count).gguf"))
      #expect(files.count > 2 && output.entries == files.map { FileReading.fileName($0.path) })
      for file in files {
        #expect(file.tensorByteCount <= limit.byteCount ?? .max || file.tensorCount == 1)
        #expect(file.tensorCount <= limit.tensorCount ?? .max)
        let part = try GGUFFile(path: file.path)
        #expect(part.tensors.count == file.tensorCount)
        #expect(part.metadata["split.count"]?.intValue == files.count)
      }
      let proof = try ConversionProof(
        plan: plan, source: acorn, written: first, pool: TestModels.pool)
      #expect(proof.rows.count == plan.entries.count)
      try convert(acorn, to: "whole.gguf", codec: "q8_0")
      #expect(try TestModels.logits(ModelFormats.load(first)) == TestModels.logits(load("whole.gguf")))
      for name in output.entries { AtomicFile.remove(output.file(name)) }
    }
  }

  @Test func partsAreForContainersThatHaveThem() throws {
    let acorn = try TestModels.acorn()
    func stage(_ container: String, _ limit: PartLimit) throws -> ConversionStage {
      let request = ConversionRequest(
        container: try ModelContainers.container(named: container, output: ""), partLimit: limit)
      return try ConversionStage(
        model: acorn, plan: ConversionPlan(request, of: acorn), pool: TestModels.pool)
    }
    let error = #expect(throws: PipelineError.self) {
      try stage("safetensors", PartLimit(tensorCount: 1)).write(to: output.file("d"))
    }
    #expect(error?.diagnostic.status == .usage)
    // A part must not take the place of the source either.
    try convert(acorn, to: "m-00001-of-00002.gguf")
    let source = try load("m-00001-of-00002.gguf")
    let request = ConversionRequest(
      container: try ModelContainers.container(named: "gguf", output: ""),
      partLimit: PartLimit(tensorCount: 40))
    let plan = try ConversionPlan(request, of: source)
    let inPlace = try ConversionStage(model: source, plan: plan, pool: TestModels.pool)
    #expect(throws: PipelineError.self) { try inPlace.write(to: output.file("m.gguf")) }
    #expect(output.entries == ["m-00001-of-00002.gguf"])
  }

  /// Anchors, hostile input 10: what lay in memory before must not get into a file. Freed memory is filled with a marker over
  /// and over, also between the tensors; the marker is in no file that is written then.
  @Test func memoryThatWasFreedIsInNoOutput() throws {
    let acorn = try TestModels.acorn()
    let int4 = try quantized("int4-g32-asym")
    let marker: [UInt8] = [0xAD, 0x2E, 0x5C, 0x91, 0xE7, 0x3B, 0xD4, 0x68]
    let word = marker.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    @Sendable func fillFreedMemory() {
      var blocks: [[UInt64]] = []
      for size in [3, 25, 128, 750, 1 << 11, 1 << 14] {
        for _ in 0..<max(4, (1 << 13) / size) { blocks.append([UInt64](repeating: word, count: size)) }
      }
      #expect(blocks.count > 24)
    }
    for (model, name, container, codec) in [
      (acorn, "plain.gguf", nil, nil), (acorn, "q8.gguf", nil, "q8_0"), (acorn, "q5.gguf", nil, "q5_1"),
      (acorn, "nl.gguf", nil, "iq4_nl"), (int4, "int4.gguf", nil, nil), (int4, "awq", "awq", nil),
      (int4, "gptq", "gptq-v2", nil), (acorn, "plain", "safetensors", nil), (acorn, "fp8", "fp8", "fp8_e4m3"),
      (acorn, "mlx", "mlx", "affine4"), (acorn, "nvfp4", "modelopt", "nvfp4"),
    ] as [(LoadedModel, String, String?, String?)] {
      let path = output.file(name)
      let request = ConversionRequest(
        container: try ModelContainers.converting(model, to: path, named: container),
        codec: try codec.map { try CodecRegistry.codec(named: $0) }, search: .extremes)
      let plan = try ConversionPlan(request, of: model)
      fillFreedMemory()
      try ConversionStage(model: model, plan: plan, pool: TestModels.pool).write(to: path) { _, _ in
        fillFreedMemory()
      }
      let files = FileReading.isDirectory(path) ? try FileReading.list(path).map { path + "/" + $0 } : [path]
      for file in files {
        let bytes = try FileReading.readAll(file, limit: 1 << 28)
        #expect(!Self.contains(marker, in: bytes), "\(file)")
      }
    }
    // The search finds what it looks for, at every offset within the pattern.
    for shift in 0..<8 {
      let found = [0, 1, 2] + (0..<15).map { marker[($0 + shift) & 7] } + [3]
      #expect(Self.contains(marker, in: found))
    }
  }

  private static func contains(_ marker: [UInt8], in bytes: [UInt8]) -> Bool {
    guard bytes.count >= marker.count else { return false }
    let span = bytes.span
    for start in 0...bytes.count - marker.count where span[start] == marker[0] {
      if marker.indices.allSatisfy({ span[start + $0] == marker[$0] }) { return true }
    }
    return false
  }

  @Test func whatCannotBeHeldIsRefusedAndNothingIsWritten() throws {
    try convert(TestModels.acorn(), to: "k.gguf", codec: "q5_1")
    let model = try load("k.gguf")
    let request = ConversionRequest(
      container: try ModelContainers.container(named: "gptq", output: ""))
    let plan = try ConversionPlan(request, of: model)
    #expect(plan.refused.count == 56)
    let error = #expect(throws: PipelineError.self) { try convert(model, to: "no", container: "gptq") }
    #expect(error?.diagnostic.code == "convert.refused")
    #expect(output.entries == ["k.gguf"])
    let proof = try convert(model, to: "plain", container: "safetensors", type: .f32, dequantizes: true)
    #expect(proof.worst?.maximumDifference == 0)
  }

  /// Rows are stored anew and written by many threads in any order; the file is the same whatever their number.
  @Test(arguments: ["q4_0", "q6_k", "iq4_xs", "mxfp4"])
  func filesAreTheSameForAnyNumberOfThreads(name: String) throws {
    let acorn = try TestModels.acorn()
    var files: [[UInt8]] = []
    for threads in [1, 3] {
      let path = output.file("\(name)-\(threads).gguf")
      let codec = try CodecRegistry.codec(canonicalName: name)
      let plan = try ConversionPlan(
        ConversionRequest(
          container: ModelContainers.converting(acorn, to: path, named: nil), codec: codec, search: .extremes),
        of: acorn)
      try ConversionStage(model: acorn, plan: plan, pool: ThreadPool(threadCount: threads, isPinned: false))
        .write(to: path)
      files.append(try FileReading.readAll(path, limit: 1 << 28))
    }
    #expect(files[0] == files[1] && !files[0].isEmpty)
  }

  /// A value that the codec cannot hold is named by weight and row, wherever in the tensor it lies.
  @Test func whatCannotBeRoundedIsNamed() throws {
    let acorn = try TestModels.acorn()
    let weights = try acorn.requireCheckpoint()
    let name = try #require(weights.keys.first { $0.hasSuffix("down_proj.weight") })
    let weight = try #require(weights[name])
    var values = try weight.decoded().values
    let row = weight.shape.rows - 2
    values[row * weight.shape.columns + 5] = .infinity
    let codec = try CodecRegistry.codec(canonicalName: "q8_0")
    let bad = Weight.dense(try Tensor(values, shape: weight.shape))
    let error = #expect(throws: PipelineError.self) {
      _ = try WeightRecoding.round(codec, search: .extremes).apply(
        to: bad, named: name, firstRow: 7, pool: TestModels.pool)
    }
    #expect(error?.diagnostic.code == "codec.non-finite" && error?.diagnostic.subject == name)
    #expect(error?.diagnostic.message.contains("row \(row + 7), column 5") == true)
  }

  /// The rows of llama2.c's queries and keys lie as in GGUF files, and are moved for a Hugging Face directory.
  @Test(.enabled(if: SharedData.isAvailable, "no ../shared")) func llama2CKeepsItsMeaningEverywhere() throws {
    let source = try ModelFormats.load(SharedData.path("models/stories260K/stories260K.bin"))
    let text = Array("Once upon a time".utf8)
    let ids = try source.requireTokenizer().encode(text, addSpecialTokens: true, parseSpecialTokens: false)
    let expected = try TestModels.logits(source, ids)
    for (name, container) in [("s.gguf", "gguf"), ("s", "safetensors")] {
      let proof = try convert(source, to: name, container: container)
      #expect(proof.worst?.maximumDifference == 0, "\(name)")
      let model = try load(name)
      #expect(
        try model.requireTokenizer().encode(text, addSpecialTokens: true, parseSpecialTokens: false) == ids)
      let found = try TestModels.logits(model, ids)
      #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-4 }, "\(name)")
      #expect(model.configuration["rope_interleaved"]?.boolValue != true)
    }
    let key = "model.layers.0.self_attn.q_proj.weight"
    let moved = try load("s").requireCheckpoint()[key]?.decoded()
    #expect(try moved != source.requireCheckpoint()[key]?.decoded())
  }

  @Test func aWrittenFileThatDiffersIsFound() throws {
    let acorn = try TestModels.acorn()
    let path = output.file("acorn.gguf")
    let plan = try ConversionPlan(
      ConversionRequest(container: ModelContainers.converting(acorn, to: path, named: nil)), of: acorn)
    try ConversionStage(model: acorn, plan: plan, pool: TestModels.pool).write(to: path)
    var bytes = try FileReading.readAll(path, limit: 1 << 28)
    bytes[bytes.count - 1000] ^= 0x40
    output.write(bytes, to: "changed.gguf")
    let error = #expect(throws: PipelineError.self) {
      _ = try ConversionProof(
        plan: plan, source: acorn, written: output.file("changed.gguf"), pool: TestModels.pool)
    }
    #expect(error?.diagnostic.code == "convert.proof")
  }
}
