import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import PackedModel
import SafeIO
import TensorCore
import Tokenizers

/// Turns a checkpoint, quantized or not, into one file that runs without preparation.
public struct PackStage {
  /// What was written.
  public struct Result: Sendable {
    /// Bytes of the file.
    public let byteCount: Int
    /// What the passes did.
    public let passReports: [PassReport]
    /// The graph after passes.
    public let graph: Graph
  }

  let source: LoadedModel
  let weights: OrderedDictionary<String, Weight>
  let history: JSONValue
  let options: PackOptions
  let activations: OrderedDictionary<String, InputQuantization>
  /// How keys and values are cached when the model runs; nil: as whoever runs it chooses.
  public var cache: CacheQuantization?
  /// What turns the textbook graph into the one that is written.
  public var passes = PassPipeline.standard

  /// Packs a checkpoint as it is.
  /// - Throws: ``PipelineError/unsupportedFormat(path:format:reason:hint:)`` for packed files.
  public init(_ model: LoadedModel, options: PackOptions) throws(PipelineError) {
    source = model
    weights = try model.requireCheckpoint()
    history = model.configuration[HuggingFaceExport.provenanceKey] ?? .null
    activations = model.activations
    cache = model.cache
    self.options = options
  }

  /// Packs a model whose weights were changed.
  public init(_ model: ModelExport, options: PackOptions) throws(PipelineError) {
    source = model.source
    var weights = model.weights
    for (name, weight) in try source.requireCheckpoint() where source.derivedNames.contains(name) {
      weights[name] = weight
    }
    self.weights = weights
    history = model.history
    activations = model.activations
    cache = model.cache
    self.options = options
  }

  /// Has keys and values cached in another format; static scales are the model's own, where it has some of this type.
  public mutating func setCache(_ format: KVFormat) {
    let own = source.cache?.format
    let isSame = own?.keys == format.keys && own?.values == format.values && own?.isStatic == true
    cache = CacheQuantization(format, scales: format.isStatic && isSame ? source.cache?.scales ?? [:] : [:])
  }

  /// Packs and writes.
  /// - Throws: ``PipelineError``, `GraphError`, `KernelsError`, `PackedModelError`, `SafeIOError`.
  public func write(to path: String) throws -> Result {
    for file in source.files where FileReading.isSameFile(file, path) {
      throw PipelineError.outputIsInput(path: path)
    }
    if let problem = cache?.problem(heads: source.graph.cacheHeads) {
      throw PipelineError.usage(
        "the model cannot be packed with this cache: \(problem)",
        hint: "adze quantize calibrates static scales: --scheme KVFP8")
    }
    var graph = source.graph
    for (name, type) in graph.constants {
      if let weight = weights[name] {
        graph.constants[name] = ConstantType(weight.encodingName, type.dimensions)
      }
    }
    let reports: [PassReport]
    (graph, reports) = try passes.run(graph, activations: activations)
    var folds = FoldedConstants()
    for report in reports { folds.add(report) }
    var weights = weights
    for name in graph.constants.keys where folds.expressions[name] != nil {
      weights[name] = try folds.weight(name, self.weights)
    }
    var contents = PackedContents(options: options)
    try contents.add(graph: graph, weights: weights, activations: activations)
    try PackedWriter.write(
      to: path, metadata: metadata(graph: graph, contents: contents),
      requiredFeatures: contents.requiredFeatures,
      sections: contents.sections(graph: graph, tokenizer: source.tokenizer))
    return Result(byteCount: try FileReading.size(path), passReports: reports, graph: graph)
  }

  private func metadata(graph: Graph, contents: PackedContents) throws -> JSONObject {
    let storage = LinearStorage(graph: source.graph, weights: weights)
    var files: [JSONValue] = []
    for file in source.files {
      files.append([
        "name": .string(FileReading.fileName(file)),
        "sha256": .string(Checksum.sha256(try MappedFile.open(file)).hexadecimal),
      ])
    }
    var metadata: JSONObject = [
      "producer": .string("adze " + AdzeVersion.current),
      "layout": .string(options.layout.rawValue),
      "bits_per_weight": .number(storage.bitsPerWeight),
      "configuration": source.configuration,
      "summary": source.summary.json,
      "tokenizer": source.tokenizer.map { .string($0.kind.rawValue) } ?? .null,
      "tensors": contents.table,
      "provenance": ["sources": .array(files), "history": history],
    ]
    if let cache { metadata["kv_cache"] = .object(cache.json) }
    return metadata
  }
}

/// Version of Adze, as files and `--version` name it.
public enum AdzeVersion {
  /// The current version.
  public static let current = "0.1.0"
}

extension QuantizedModel {
  /// What was done to the weights, without anything that differs from run to run.
  var provenance: JSONValue {
    ["recipe": recipe.json, "calibration": calibration?.json ?? .null]
  }
}
