import Codecs
import CompressedTensors
import Glibc
import GraphIR
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore

/// Where the bits of a quantized model go: one axis of three, beside method and codec.
public struct ModelContainer: Sendable {
  /// Name on the command line.
  public let name: String
  /// One line for people.
  public let summary: String
  /// Whether an output path is a directory.
  public let isDirectory: Bool
  /// Why the container cannot hold a codec; nil when it can.
  public let refusal: @Sendable (any Codec, _ columns: Int) -> String?
  /// Writes a model.
  let write: @Sendable (QuantizedModel, String, PackOptions) throws -> Void
}

/// Every container that models are written to; adding one is adding a row.
public enum ModelContainers {
  /// The rows, in the order that help texts show.
  public static let entries: [ModelContainer] = [.compressedTensors, .packed]

  /// The container called `name`; without a name, `.adze` paths are packed models and all others directories.
  /// - Throws: ``PipelineError/usage(_:hint:)``.
  public static func container(named name: String?, output: String) throws(PipelineError) -> ModelContainer {
    guard let name else { return output.hasSuffix(".adze") ? .packed : .compressedTensors }
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw .usage(
        "no container is called '\(name)'", hint: "containers: \(entries.map(\.name).joined(separator: ", "))"
      )
    }
    return entry
  }
}

extension ModelContainer {
  /// One file that Adze runs.
  static let packed = ModelContainer(
    name: "adze", summary: "one packed file that adze runs; holds every codec", isDirectory: false,
    refusal: { _, _ in nil },
    write: { model, path, options in _ = try PackStage(model, options: options).write(to: path) })

  /// A directory that vLLM and transformers load.
  static let compressedTensors = ModelContainer(
    name: "compressed-tensors",
    summary: "a Hugging Face directory that vLLM and transformers load (pack-quantized)", isDirectory: true,
    refusal: { codec, columns in
      guard let codec = codec as? IntegerGroupCodec else { return "it holds integers with scales only" }
      guard columns % codec.groupLength(columns: columns) == 0 else {
        return "\(columns) columns are not whole groups of \(codec.groupLength(columns: columns))"
      }
      return nil
    },
    write: { model, path, _ in try HuggingFaceExport(model).write(to: path) })

  /// Writes a model to `path`, whole or not at all.
  /// - Throws: ``PipelineError``, `SafeIOError` and the container's own errors.
  public func write(_ model: QuantizedModel, to path: String, packing: PackOptions = .init()) throws {
    try checkOutput(path, source: model.source)
    try write(model, path, packing)
  }

  /// Refuses an output that is the input, or a directory that holds something, before any work is done.
  /// - Throws: ``PipelineError/outputIsInput(path:)``, `SafeIOError`.
  public func checkOutput(_ path: String, source: LoadedModel) throws {
    for file in source.files + [source.path] where FileReading.isSameFile(file, path) {
      throw PipelineError.outputIsInput(path: path)
    }
    let trimmed = String(path.reversed().drop { $0 == "/" }.reversed())
    guard unsafe access(FileReading.directory(of: trimmed), W_OK) == 0 else {
      throw SafeIOError.cannotCreate(file: path, operation: "create", code: errno)
    }
    guard isDirectory, FileReading.isDirectory(path) else { return }
    guard try FileReading.list(path).isEmpty else { throw SafeIOError.alreadyExists(file: path) }
  }

  /// Refuses a recipe that this container cannot hold, before any work is done.
  /// - Throws: ``PipelineError/weight(_:reason:)``.
  public func check(_ plan: QuantizationPlan, codec: any Codec) throws(PipelineError) {
    let selected = Set(plan.selected)
    for entry in plan.entries where selected.contains(entry.name) {
      if let reason = refusal(codec, entry.shape.columns) {
        throw .weight(entry.name, reason: "\(name) cannot hold \(codec.canonicalName) here: \(reason)")
      }
    }
  }
}

/// Writes a quantized model as a Hugging Face directory.
struct HuggingFaceExport {
  let model: QuantizedModel

  /// Key of config.json that says what was done to the weights.
  static let provenanceKey = "adze_provenance"

  /// Files that are copied as they are when the source has them.
  private static let companions = [
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "chat_template.json", "tokenizer.model", "vocab.json", "merges.txt",
    "added_tokens.json",
  ]

  init(_ model: QuantizedModel) { self.model = model }

  func write(to path: String) throws {
    let weights = try exportedWeights()
    let tensors = try CompressedTensorsLayout.tensors(for: weights)
    let quantized = Set(model.quantizedNames)
    let ignored = model.source.graph.linearNodes.flatMap(\.weights).filter { !quantized.contains($0) }
    var configuration = model.source.configuration.objectValue ?? JSONObject()
    configuration["quantization_config"] = try CompressedTensorsLayout.quantizationConfiguration(
      for: weights, ignored: OrderedSet(ignored).map { $0.hasSuffix(".weight") ? String($0.dropLast(7)) : $0 }
    )
    configuration[Self.provenanceKey] = model.provenance
    let text = JSONValue.object(configuration).serialized(pretty: true) + "\n"
    try AtomicDirectory.write(to: path, overwrite: false) { directory in
      try SafetensorsWriter.writeCheckpoint(tensors, to: directory)
      try AtomicFile.write(Array(text.utf8), to: directory + "/config.json")
      try copyCompanions(to: directory)
    }
  }

  /// The checkpoint's own weights, without the tables that importers derive from the configuration.
  private func exportedWeights() throws -> OrderedDictionary<String, Weight> {
    model.weights.filter { name, _ in !model.source.derivedNames.contains(name) }
  }

  private func copyCompanions(to directory: String) throws {
    let source =
      FileReading.isDirectory(model.source.path)
      ? model.source.path : FileReading.directory(of: model.source.path)
    for name in Self.companions where FileReading.exists(source + "/" + name) {
      let bytes = try FileReading.readAll(source + "/" + name, limit: Limits.standard.maxHeaderBytes)
      try AtomicFile.write(bytes, to: directory + "/" + name)
    }
  }
}
