import Architectures
import Codecs
import CompressedTensors
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

/// Reads what Hugging Face's tools write.
enum HuggingFaceModel {
  static func load(checkpoint: String, directory: String, path: String, format: String) throws -> LoadedModel
  {
    let configuration = try JSONValue.parse(contentsOf: directory + "/config.json")
    let checkpoint = try SafetensorsCheckpoint(path: checkpoint)
    let (stored, notes) = try weights(
      checkpoint.tensors, configuration: configuration, path: directory + "/config.json")
    let imported = try ModelFamily.importModel(configuration: configuration, weights: WeightCatalog(stored))
    var all = stored
    for (name, tensor) in imported.derivedConstants { all[name] = .dense(tensor) }
    return LoadedModel(
      path: path, format: format, files: checkpoint.files, configuration: configuration,
      summary: ModelSummary(imported),
      graph: imported.graph, content: .checkpoint(all),
      derivedNames: Set(imported.derivedConstants.keys), tokenizer: try tokenizer(in: directory),
      warnings: checkpoint.warnings + notes + imported.warnings)
  }

  /// Quantized weights where the configuration says that there are some, plain tensors otherwise.
  static func weights(
    _ tensors: OrderedDictionary<String, Tensor>, configuration: JSONValue, path: String
  ) throws -> (OrderedDictionary<String, Weight>, warnings: [String]) {
    guard let quantization = configuration["quantization_config"], !quantization.isNull else {
      return (tensors.mapValues { .dense($0) }, [])
    }
    guard quantization["quant_method"]?.stringValue == "compressed-tensors" else {
      throw PipelineError.unsupportedFormat(
        path: path, format: "quantization_config",
        reason: "quant_method \(quantization["quant_method"]?.stringValue ?? "(none)") is not read yet",
        hint: "compressed-tensors is")
    }
    let reading = try CompressedTensorsLayout.reading(tensors: tensors, configuration: quantization)
    return (reading.weights, reading.warnings)
  }

  static func tokenizer(in directory: String) throws -> TokenizerSource? {
    let path = directory + "/tokenizer.json"
    guard FileReading.exists(path) else { return nil }
    let configurationPath = directory + "/tokenizer_config.json"
    let configuration =
      FileReading.exists(configurationPath) ? try JSONValue.parse(contentsOf: configurationPath) : nil
    return try TokenizerSource(
      kind: .tokenizerJSON, bytes: FileReading.readAll(path, limit: Limits.standard.maxHeaderBytes),
      configuration: configuration)
  }
}
