import Codecs
import GGUF
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

/// A model as checks see it: the files as they are, and what became of them when they were read.
struct DoctorSubject {
  /// Where the model lies.
  let path: String
  /// The directory of configuration files; nil for formats that hold everything in one file.
  let directory: String?
  /// `config.json`; nil when there is none or it cannot be read.
  let configuration: JSONValue?
  /// Tensors as stored, for safetensors checkpoints.
  let tensors: OrderedDictionary<String, Tensor>
  /// The header, for GGUF files.
  let gguf: GGUFFile?
  /// The model; nil when it could not be read.
  let model: LoadedModel?
  /// Why it could not be read.
  let loadError: (any Error)?

  /// Reads a model as far as that is possible.
  /// - Throws: ``PipelineError/missing(path:)``.
  init(path: String) throws {
    guard FileReading.exists(path) else { throw PipelineError.missing(path: path) }
    self.path = path
    gguf = GGUFFile.isGGUF(path: path) ? try? GGUFFile(path: path) : nil
    let folder = FileReading.isDirectory(path) ? path : FileReading.directory(of: path)
    let isCheckpoint = FileReading.isDirectory(path) || SafetensorsFile.isSafetensors(path: path)
    directory = isCheckpoint ? folder : nil
    configuration = directory.flatMap { try? JSONValue.parse(contentsOf: $0 + "/config.json") }
    tensors = isCheckpoint ? (try? SafetensorsCheckpoint(path: path).tensors) ?? [:] : [:]
    do {
      model = try ModelFormats.load(path)
      loadError = nil
    } catch {
      model = nil
      loadError = error
    }
  }

  /// The weights; empty for packed files and for models that could not be read.
  var weights: OrderedDictionary<String, Weight> {
    guard let model, case .checkpoint(let weights) = model.content else { return [:] }
    return weights.filter { !model.derivedNames.contains($0.key) }
  }

  /// How the checkpoint says that it is quantized: a key of config.json, or a file beside it.
  var quantization: JSONValue? {
    if let value = configuration?["quantization_config"], !value.isNull { return value }
    return file("quantize_config.json") ?? file("quant_config.json")
  }

  /// A JSON file of the directory; nil when it is not there or cannot be read.
  func file(_ name: String) -> JSONValue? {
    directory.flatMap { try? JSONValue.parse(contentsOf: $0 + "/" + name) }
  }
}
