import GGUF
import SafeIO
import TensorCore
import Tokenizers

/// One kind of file or directory that holds a model; recognised by content, never by extension.
public struct ModelFormat: Sendable {
  /// Name for people.
  public let name: String
  /// Whether `path` holds this format.
  let recognises: @Sendable (String) -> Bool
  /// Reads it.
  let load: @Sendable (String) throws -> LoadedModel
}

/// Every format that models are read from; adding one is adding a row.
public enum ModelFormats {
  /// The rows, asked in order.
  public static let entries: [ModelFormat] = [
    .packed, .huggingFaceDirectory, .safetensorsFile, .gguf, .llama2C,
  ]

  /// Reads the model at `path`, whatever its format.
  /// - Parameter checksValues: whether scales of quantized weights are looked at; without, opening reads headers only.
  /// - Throws: ``PipelineError``, or the format's own errors.
  public static func load(_ path: String, checksValues: Bool = true) throws -> LoadedModel {
    guard FileReading.exists(path) else { throw PipelineError.missing(path: path) }
    guard let format = entries.first(where: { $0.recognises(path) }) else {
      throw PipelineError.unrecognised(path: path, found: describe(path))
    }
    let model = try format.load(path)
    if checksValues { try model.checkScales() }
    return model
  }

  /// The tokenizer at `path`: of a model, or of a GGUF file that holds only a vocabulary.
  /// - Throws: ``PipelineError``, or the format's own errors.
  public static func tokenizer(_ path: String) throws -> any Tokenizer {
    guard FileReading.exists(path), GGUFFile.isGGUF(path: path) else {
      return try load(path).requireTokenizer()
    }
    guard let source = try GGUFCheckpoint(path: path).tokenizer() else {
      throw PipelineError.missingTokenizer(path: path)
    }
    return source.tokenizer
  }

  private static func describe(_ path: String) -> String {
    if FileReading.isDirectory(path) { return "a directory without config.json" }
    guard let start = try? FirstBytes.read(path, count: 4) else { return "an unreadable file" }
    if start.starts(with: [0x50, 0x4B, 3, 4]) || start.first == 0x80 {
      return "a pickle or zip archive, which can run code when it is read; convert it to safetensors first"
    }
    return start.isEmpty
      ? "an empty file" : "a file that begins with bytes " + start.map { String($0) }.joined(separator: " ")
  }
}

/// The first bytes of a file, by which formats are told apart.
enum FirstBytes {
  static func read(_ path: String, count: Int) throws -> [UInt8] {
    let region = try MappedFile.open(path)
    return unsafe region.withBytes { unsafe Array($0.prefix(count)) }
  }
}
