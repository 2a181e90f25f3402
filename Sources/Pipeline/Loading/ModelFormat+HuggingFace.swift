import Architectures
import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import Tokenizers

extension ModelFormat {
  /// A directory with `config.json`, safetensors and `tokenizer.json`.
  static let huggingFaceDirectory = ModelFormat(
    name: "Hugging Face directory",
    recognises: { FileReading.isDirectory($0) && FileReading.exists($0 + "/config.json") },
    load: { path in
      try HuggingFaceModel.load(
        checkpoint: path, directory: path, path: path, format: "Hugging Face directory")
    })

  /// One safetensors file with `config.json` and `tokenizer.json` beside it.
  static let safetensorsFile = ModelFormat(
    name: "safetensors file",
    recognises: { SafetensorsFile.isSafetensors(path: $0) },
    load: { path in
      let directory = FileReading.directory(of: path)
      guard FileReading.exists(directory + "/config.json") else {
        throw PipelineError.unsupportedFormat(
          path: path, format: "safetensors file", reason: "no config.json lies beside it",
          hint: "the architecture is described there; 'adze inspect --tensors' works without")
      }
      return try HuggingFaceModel.load(
        checkpoint: path, directory: directory, path: path, format: "safetensors file")
    })
}

extension LoadedModel {
  /// Whether files such as generation_config.json lie beside the weights.
  var isHuggingFace: Bool {
    [ModelFormat.huggingFaceDirectory.name, ModelFormat.safetensorsFile.name].contains(format)
  }
}

/// Reads what Hugging Face's tools write.
enum HuggingFaceModel {
  static func load(checkpoint: String, directory: String, path: String, format: String) throws -> LoadedModel
  {
    let configuration = try JSONValue.parse(contentsOf: directory + "/config.json")
    let checkpoint = try SafetensorsCheckpoint(path: checkpoint)
    let reading = try QuantizedLayouts.reading(
      checkpoint.tensors, configuration: configuration, directory: directory)
    let weights = try ModelFamily.separated(reading.weights, of: configuration)
    let imported = try ModelFamily.importModel(
      configuration: configuration, weights: WeightCatalog(weights))
    let (cache, remarks) = try reading.cache(of: imported.graph)
    return LoadedModel(
      path: path, format: format, files: checkpoint.files, configuration: configuration,
      summary: ModelSummary(imported),
      graph: imported.graph, content: .checkpoint(try imported.constants(from: weights)),
      derivedNames: Set(imported.derivedConstants.keys), rearrangements: imported.rearrangements,
      tokenizer: try tokenizer(in: directory),
      warnings: checkpoint.warnings + reading.warnings + remarks + imported.warnings,
      companions: reading.companions, activations: reading.activations, cache: cache)
  }

  /// Whether a chat template lies with the model, in any of the three places that tools know.
  static func hasChatTemplate(in path: String) -> Bool {
    let directory = FileReading.isDirectory(path) ? path : FileReading.directory(of: path)
    let files = ["chat_template.jinja", "chat_template.json"]
    if files.contains(where: { FileReading.exists(directory + "/" + $0) }) { return true }
    let configuration = try? JSONValue.parse(contentsOf: directory + "/tokenizer_config.json")
    return configuration?["chat_template"].map { !$0.isNull } ?? false
  }

  static func tokenizer(in directory: String) throws -> TokenizerSource? {
    let files: [(name: String, kind: TokenizerKind)] = [
      ("tokenizer.json", .tokenizerJSON), ("tokenizer.model", .sentencePiece),
    ]
    guard let (name, kind) = files.first(where: { FileReading.exists(directory + "/" + $0.name) }) else {
      return nil
    }
    let path = directory + "/" + name
    let configurationPath = directory + "/tokenizer_config.json"
    let configuration =
      FileReading.exists(configurationPath) ? try JSONValue.parse(contentsOf: configurationPath) : nil
    return try TokenizerSource(
      kind: kind, bytes: FileReading.readAll(path, limit: Limits.standard.maxHeaderBytes),
      configuration: configuration)
  }
}
