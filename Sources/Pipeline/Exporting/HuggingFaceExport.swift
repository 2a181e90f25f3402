import Codecs
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import Tokenizers

/// What a layout puts into a Hugging Face directory.
struct HuggingFaceContents: Sendable {
  /// Tensors of the checkpoint, in the order of the weights.
  var tensors: OrderedDictionary<String, TensorSource> = [:]
  /// Members that `config.json` gets.
  var configuration: JSONObject = [:]
  /// Further files by name.
  var files: OrderedDictionary<String, JSONValue> = [:]

  /// Contents without tensors.
  init(configuration: JSONObject = [:], files: OrderedDictionary<String, JSONValue> = [:]) {
    self.configuration = configuration
    self.files = files
  }

  /// Adds the tensors of a model. Those of quantized weights are made again when their turn to be written comes, so
  /// that one weight is in memory at a time.
  mutating func add(
    _ model: ModelExport,
    layout: @escaping @Sendable (String, EncodedMatrix) throws -> OrderedDictionary<String, Tensor>
  ) throws {
    for (name, weight) in try model.checkpointWeights() {
      switch weight {
      case .dense(let tensor): tensors[name] = TensorSource(tensor)
      case .encoded(let matrix):
        for (part, tensor) in try layout(name, matrix) {
          tensors[part] = TensorSource(elementType: tensor.elementType, shape: tensor.shape) {
            try layout(name, matrix)[part] ?? tensor
          }
        }
      }
    }
  }
}

extension ModelContainer {
  /// A container that is a Hugging Face directory.
  /// - Parameters:
  ///   - activationRefusal: why the layout cannot say that inputs of weights of a codec are quantized by a scheme.
  ///   - cacheRefusal: why the layout cannot say that keys and values are cached so.
  ///   - companions: which scales of activations and of the KV cache the layout stores.
  ///   - contents: what the layout makes of a model and of the names of those scales.
  static func huggingFace(
    name: String, summary: String, refusal: @escaping @Sendable (any Codec, Int, Int) -> String?,
    activationRefusal: @escaping @Sendable (ActivationScheme, any Codec) -> String? = ModelContainer
      .noActivations,
    cacheRefusal: @escaping @Sendable (KVFormat) -> String? = ModelContainer.noCache,
    companions: @escaping @Sendable (CompanionScales) throws -> CompanionScales.Selection = { _ in .init() },
    contents: @escaping @Sendable (ModelExport, [String]) throws -> HuggingFaceContents
  ) -> ModelContainer {
    ModelContainer(
      name: name, summary: summary, isDirectory: true, refusal: refusal, activationRefusal: activationRefusal,
      cacheRefusal: cacheRefusal, companions: companions
    ) { model, path, _ in
      let scales = try companions(CompanionScales(model)).tensors
      var contents = try contents(model, Array(scales.keys))
      for (name, tensor) in scales where contents.tensors[name] == nil {
        contents.tensors[name] = TensorSource(tensor)
      }
      try HuggingFaceExport(model, contents).write(to: path)
    }
  }
}

/// Writes a Hugging Face directory.
struct HuggingFaceExport {
  let model: ModelExport
  let contents: HuggingFaceContents

  /// Key of config.json that says what was done to the weights.
  static let provenanceKey = "adze_provenance"

  /// Keys of config.json that describe how the source was quantized.
  private static let quantizationKeys = ["quantization_config", "compression_config", "quantization"]

  /// Files that are copied as they are when the source has them.
  private static let companions = [
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "chat_template.json", "tokenizer.model", "vocab.json", "merges.txt",
    "added_tokens.json",
  ]

  init(_ model: ModelExport, _ contents: HuggingFaceContents) {
    self.model = model
    self.contents = contents
  }

  func write(to path: String) throws {
    try AtomicDirectory.write(to: path, overwrite: false) { directory in
      try SafetensorsWriter.writeCheckpoint(sources: contents.tensors, to: directory)
      try write(.object(configuration), to: directory + "/config.json")
      for (name, value) in contents.files { try write(value, to: directory + "/" + name) }
      try copyCompanions(to: directory)
    }
  }

  /// The source's configuration, but for how the weights are stored.
  private var configuration: JSONObject {
    var result = model.source.configuration.objectValue ?? JSONObject()
    for key in Self.quantizationKeys + [Self.provenanceKey] { result[key] = nil }
    if model.source.rotatesNeighbours { result[LoadedModel.interleavedRotationKey] = nil }
    for (key, value) in contents.configuration { result[key] = value }
    result[Self.provenanceKey] = model.history.isNull ? nil : model.history
    return result
  }

  private func write(_ value: JSONValue, to path: String) throws {
    try AtomicFile.write(Array((value.serialized(pretty: true) + "\n").utf8), to: path)
  }

  private func copyCompanions(to directory: String) throws {
    if let tokenizer = model.source.tokenizer, [.gguf, .llama2c].contains(tokenizer.kind) {
      // What a GGUF file holds in its metadata, or llama2.c in a file of its kind, lies in files of its own here.
      guard let vocabulary = try tokenizer.ggufVocabulary() else { return }
      try write(vocabulary.tokenizerJSON(file: model.source.path), to: directory + "/tokenizer.json")
      try write(vocabulary.tokenizerConfiguration(), to: directory + "/tokenizer_config.json")
      return
    }
    guard model.source.isHuggingFace else { return }
    let source =
      FileReading.isDirectory(model.source.path)
      ? model.source.path : FileReading.directory(of: model.source.path)
    for name in Self.companions where FileReading.exists(source + "/" + name) {
      let bytes = try FileReading.readAll(source + "/" + name, limit: Limits.standard.maxHeaderBytes)
      try AtomicFile.write(bytes, to: directory + "/" + name)
    }
  }
}
