import Architectures
import Codecs
import GraphIR
import GraphPasses
import Llama2C
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import TestSupport
import Testing

/// A checkpoint on disk, imported.
struct Checkpoint {
  var model: ImportedModel
  let tensors: OrderedDictionary<String, Tensor>
  /// Constants that passes made.
  var folds = FoldedConstants()

  init(_ path: String) throws {
    let configuration = try JSONValue.parse(contentsOf: path + "/config.json")
    let stored = try SafetensorsCheckpoint(path: path).tensors.mapValues { Weight.dense($0) }
    tensors = try ModelFamily.separated(stored, of: configuration).compactMapValues {
      if case .dense(let tensor) = $0 { tensor } else { nil }
    }
    model = try ModelFamily.importModel(configuration: configuration, weights: WeightCatalog(tensors))
  }

  /// Finds constants: derived ones, then the checkpoint's.
  func constant(_ name: String) throws -> Tensor {
    try folds.tensor(name, constant: stored) ?? stored(name)
  }

  private func stored(_ name: String) throws -> Tensor {
    guard let tensor = model.derivedConstants[name] ?? tensors[name] else {
      throw GraphError.execution(name, reason: "no such constant")
    }
    guard let rearrangement = model.rearrangements[name],
      case .dense(let constant) = try rearrangement.applied(to: .dense(tensor))
    else { return tensor }
    return constant
  }

  /// Logits [tokens, vocabulary] of a sequence, by the interpreter.
  func logits(_ tokens: [Int64]) throws -> [Float] {
    let inputs = [
      "tokens": try Tensor(tokens.map(Int32.init), shape: Shape([tokens.count])),
      "positions": try Tensor((0..<tokens.count).map(Int32.init), shape: Shape([tokens.count])),
    ]
    return try Interpreter.run(model.graph, inputs: inputs, constants: constant)[0].floats()
  }
}

@Suite struct GoldenTests {
  /// The goldens: every folder with expected logits that lies with these tests or with the shared data. The interpreter agrees
  /// with them.
  static let goldens: [String: String] = {
    let own = SharedData.projectRoot + "/Tests/ArchitecturesTests/Goldens"
    let parents = SharedData.isAvailable ? [SharedData.path("goldens"), own] : [own]
    let folders = parents.flatMap { parent in
      ((try? FileReading.list(parent)) ?? []).map { (name: $0, path: parent + "/" + $0) }
    }
    let found = folders.filter { FileReading.exists($0.path + "/expected.safetensors") }
    return Dictionary(found.map { ($0.name, $0.path) }) { _, last in last }
  }()

  static let names = goldens.keys.sorted()

  /// Where a golden lies.
  static func folder(_ name: String) -> String { goldens[name] ?? SharedData.path("goldens/\(name)") }

  @Test func everyFamilyHasGoldens() throws {
    var tried: Set<String> = []
    for folder in Self.goldens.values {
      let family = try ModelFamily.family(of: JSONValue.parse(contentsOf: folder + "/config.json"))
      tried.insert(family.name)
    }
    for family in ModelFamily.all {
      #expect(!family.summary.isEmpty && !family.modelTypes.isEmpty && !family.architectures.isEmpty)
      if SharedData.isAvailable { #expect(tried.contains(family.name), "\(family.name)") }
    }
  }

  /// Logits within 1e-4 of their standard deviation of those of transformers.
  @Test(arguments: names) func logitsEqualTheReference(name: String) throws {
    let folder = Self.folder(name)
    let checkpoint = try Checkpoint(folder)
    #expect(checkpoint.model.warnings.isEmpty, "\(checkpoint.model.warnings)")
    let graph = checkpoint.model.graph
    #expect(try Graph(parsing: graph.printed()) == graph)
    let expected = try SafetensorsFile(path: folder + "/expected.safetensors").tensors
    let ids = try #require(expected["input_ids"])
    let reference = try #require(expected["logits"]).floats()
    let tokens = try ids.integers()
    let length = ids.shape.columns
    let mean = reference.reduce(0.0) { $0 + Double($1) } / Double(reference.count)
    let variance = reference.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    let deviation = (variance / Double(reference.count)).squareRoot()
    var worst = 0.0
    var found: [Float] = []
    for sequence in 0..<ids.shape.rows {
      found += try checkpoint.logits(Array(tokens[sequence * length..<(sequence + 1) * length]))
    }
    #expect(found.count == reference.count)
    for (a, b) in zip(found, reference) { worst = max(worst, abs(Double(a) - Double(b))) }
    #expect(worst <= 1e-4 * deviation, "largest difference \(worst), deviation \(deviation)")
  }

  /// The model that the project ships imports without a warning and computes finite logits.
  @Test func theShippedModelIsImported() throws {
    let checkpoint = try Checkpoint(SharedData.projectRoot + "/Calibration/Models/acorn")
    #expect(checkpoint.model.warnings.isEmpty)
    #expect(checkpoint.model.graph.linearNodes.last?.weights == ["model.embed_tokens.weight"])
    let logits = try checkpoint.logits([0, 100, 200])
    #expect(logits.count == 3 * checkpoint.model.configuration.vocabularySize)
    let isFinite = logits.allSatisfy { $0.isFinite }
    #expect(isFinite)
  }

  @Test(.enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func theGraphIsTheTextbookOne() throws {
    let checkpoint = try Checkpoint(SharedData.path("goldens/llama"))
    let graph = checkpoint.model.graph
    #expect(try Graph(parsing: graph.printed()) == graph)
    #expect(graph.inputs.map { graph.name(of: $0) } == ["tokens", "positions"])
    #expect(graph.outputs.map { graph.name(of: $0) } == ["logits"])
    #expect(graph.type(of: graph.outputs[0]) == .activations(320))
    #expect(graph.blocks.map(\.scope) == ["layers.0", "layers.1", "layers.2"])
    #expect(graph.blocks.map { $0.inputs.map { graph.name(of: $0) } } == [["h0"], ["h1"], ["h2"]])
    #expect(graph.linearNodes.count == 3 * 7 + 1)
    #expect(
      graph.linearNodes.prefix(3).map(\.weights)
        == ["q", "k", "v"].map { ["model.layers.0.self_attn.\($0)_proj.weight"] })
    #expect(Set(graph.nodes.map(\.scope)).contains("layers.1.feed_forward"))
    #expect(checkpoint.model.derivedConstants.keys == ["rope.inverse_frequencies"])
    let configuration = checkpoint.model.configuration
    #expect(
      configuration.bosToken == 0 && configuration.eosTokens == [1] && configuration.contextLength == 128)
  }

  /// The standard passes fuse all there is to fuse, and leave the logits as they were, bit for bit.
  @Test(arguments: names) func passesKeepTheLogits(name: String) throws {
    var checkpoint = try Checkpoint(Self.folder(name))
    let vocabulary = checkpoint.model.configuration.vocabularySize
    let tokens = (0..<20).map { Int64($0 * 31 % vocabulary) }
    let before = try checkpoint.logits(tokens)
    _ = try PassPipeline.standard.run(&checkpoint.model.graph)
    #expect(try Graph(parsing: checkpoint.model.graph.printed()) == checkpoint.model.graph)
    #expect(try checkpoint.logits(tokens) == before)
  }

  /// Passes that fold numbers into weights, and then the standard ones, stay within 1e-5 of the deviation of the logits.
  @Test(arguments: names) func foldsKeepTheLogits(name: String) throws {
    var checkpoint = try Checkpoint(Self.folder(name))
    let vocabulary = checkpoint.model.configuration.vocabularySize
    let tokens = (0..<20).map { Int64($0 * 31 % vocabulary) }
    let before = try checkpoint.logits(tokens)
    let folding = PassPipeline(
      [FoldScales(), FoldNormGains(), FoldConsecutiveProjections()] + PassPipeline.standard.passes)
    for report in try folding.run(&checkpoint.model.graph) { checkpoint.folds.add(report) }
    let after = try checkpoint.logits(tokens)
    let mean = before.reduce(0.0) { $0 + Double($1) } / Double(before.count)
    let squares = before.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    let deviation = (squares / Double(before.count)).squareRoot()
    for (a, b) in zip(after, before) {
      #expect(abs(Double(a) - Double(b)) <= PassPromise.tolerance * deviation, "\(a) was \(b)")
    }
  }

  @Test(
    .enabled(if: SharedData.isAvailable, "the reference data is not here"),
    arguments: ["llama", "llama31-rope"])
  func passesFuseAllThereIs(name: String) throws {
    var checkpoint = try Checkpoint(Self.folder(name))
    let reports = try PassPipeline.standard.run(&checkpoint.model.graph)
    let counts = Dictionary(reports.map { ($0.pass, $0.firedCount) }, uniquingKeysWith: +)
    let layers = checkpoint.model.configuration.layerCount
    #expect(counts["fuse-swiglu"] == layers)
    #expect(counts["fuse-parallel-projections"] == layers)
    #expect(counts["fuse-add-rms-norm"] == 2 * layers)
    #expect(counts["fuse-rotary-attention"] == layers)
    #expect(counts["fuse-linear-gated"] == layers)
    #expect(reports.allSatisfy { $0.misses.isEmpty })
    let graph = checkpoint.model.graph
    #expect(graph.linearNodes.count == 3 * layers + 1)
    let crossing = graph.blocks.map { $0.inputs.map { graph.name(of: $0) } }
    #expect(crossing == [["h0"]] + (1..<layers).map { ["h\($0)", "n\($0)"] })
  }

  /// A llama2.c model, whose rotary pairs are neighbours, says the story that its author printed: each next token of the
  /// greedy reference is the likeliest one.
  @Test(.enabled(if: SharedData.isAvailable, "the reference data is not here"))
  func interleavedRotationTellsTheReferenceStory() throws {
    let folder = SharedData.path("models/stories260K")
    let file = try Llama2CCheckpoint.open(folder + "/stories260K.bin")
    let model = try ModelFamily.importModel(
      configuration: file.configuration, weights: WeightCatalog(file.tensors))
    #expect(model.warnings.isEmpty, "\(model.warnings)")
    let reference = try JSONValue.parse(contentsOf: folder + "/greedy_reference.json")
    let story = try #require(reference["greedy"]?.arrayValue).compactMap(\.intValue)
    let tokens = story.prefix(128)
    let inputs = [
      "tokens": try Tensor(tokens.map(Int32.init), shape: Shape([tokens.count])),
      "positions": try Tensor((0..<tokens.count).map(Int32.init), shape: Shape([tokens.count])),
    ]
    let logits = try Interpreter.run(model.graph, inputs: inputs) { name in
      try #require(model.derivedConstants[name] ?? file.tensors[name])
    }[0].floats()
    let width = model.configuration.vocabularySize
    for position in tokens.indices {
      let row = logits[position * width..<(position + 1) * width]
      let likeliest = row.indices.max { row[$0] < row[$1] }
      #expect(likeliest == position * width + story[position + 1], "position \(position)")
    }
  }
}
