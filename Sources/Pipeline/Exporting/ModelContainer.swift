import Codecs
import Glibc
import GraphPasses
import OrderedCollections
import SafeIO
import TensorCore

/// Where the bits of a quantized model go: one axis of three, beside method and codec.
public struct ModelContainer: Sendable {
  /// Name on the command line.
  public let name: String
  /// One line for people.
  public let summary: String
  /// Whether an output path is a directory.
  public let isDirectory: Bool
  /// Why the container cannot hold a matrix of this codec and size; nil when it can.
  public let refusal: @Sendable (any Codec, _ rows: Int, _ columns: Int) -> String?
  /// Why the container cannot say that inputs of weights of a codec are quantized by a scheme; nil when it can.
  var activationRefusal: @Sendable (ActivationScheme, any Codec) -> String? = ModelContainer.noActivations
  /// Why the container cannot say that keys and values are cached so; nil when it can.
  var cacheRefusal: @Sendable (KVFormat) -> String? = ModelContainer.noCache
  /// Whether weights are stored anew one by one as they are written; otherwise all are, before.
  var streams = false
  /// The files that would be written, in containers that can be written in parts; nil in others.
  var files: (@Sendable (ModelExport, String) throws -> [PlannedFile])?
  /// Which scales of activations and of the KV cache it stores, and how.
  var companions: @Sendable (CompanionScales) throws -> CompanionScales.Selection = { _ in .init() }
  /// What a person should know of how this container stores weights that were made for it; nil for nothing.
  var storageWarning: @Sendable (ModelExport) throws -> String? = { _ in nil }
  /// What a person should know of a model in this container before it is written.
  var remarks: @Sendable (LoadedModel) throws -> [String] = { _ in [] }
  /// Writes a model.
  let write: @Sendable (ModelExport, String, PackOptions) throws -> Void

  /// What a person should know of a model in this container, such as what its usual readers compute otherwise.
  /// - Throws: the container's own errors, when it cannot express the model.
  public func remarks(on model: LoadedModel) throws -> [String] { try remarks(model) }
}

/// Every container that models are written to; adding one is adding a row.
public enum ModelContainers {
  /// The rows, in the order that help texts show.
  public static let entries: [ModelContainer] = [
    .safetensors, .compressedTensors, .compressedTensorsW8A8, .gptq, .gptqV2, .awq, .fp8, .modelOpt, .mlx,
    .gguf, .packed,
  ]

  /// Those that hold a model's weights as such, so that a conversion can be read back.
  public static let convertible = entries.filter { $0.name != ModelContainer.packed.name }

  /// The container that a model is converted to: without a name, GGUF for `.gguf` paths, else a Hugging Face directory.
  /// - Throws: ``PipelineError/usage(_:hint:)``.
  public static func converting(
    _ model: LoadedModel, to output: String, named name: String?
  ) throws(PipelineError) -> ModelContainer {
    if name == ModelContainer.packed.name || (name == nil && output.hasSuffix(".adze")) {
      throw .usage("adze convert does not write packed files", hint: "adze pack does")
    }
    if let name { return try container(named: name, output: output) }
    if output.hasSuffix(".gguf") { return .gguf }
    guard case .checkpoint(let weights) = model.content else { return .safetensors }
    let isQuantized = weights.values.contains { if case .encoded = $0 { true } else { false } }
    return isQuantized || !model.companions.isEmpty ? .compressedTensors : .safetensors
  }

  /// The container called `name`; without a name, `.adze` paths are packed models, `.gguf` paths GGUF files, and all others
  /// directories.
  /// - Throws: ``PipelineError/usage(_:hint:)``.
  public static func container(named name: String?, output: String) throws(PipelineError) -> ModelContainer {
    guard let name else {
      if output.hasSuffix(".gguf") { return .gguf }
      return output.hasSuffix(".adze") ? .packed : .compressedTensors
    }
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
    refusal: { _, _, _ in nil }, activationRefusal: { _, _ in nil }, cacheRefusal: { _ in nil },
    storageWarning: { try PackStage($0, options: PackOptions()).wideningWarning() },
    write: { model, path, options in _ = try PackStage(model, options: options).write(to: path) })

  /// What the container will not store of a model, or not as it is; empty when nothing is lost.
  /// - Throws: `TensorCoreError`, ``PipelineError``.
  public func warnings(for model: ModelExport) throws -> [String] {
    try [
      companionWarning(for: model), activationWarning(for: model), cacheWarning(for: model),
      storageWarning(model),
    ].compactMap { $0 }
  }

  /// Writes a model to `path`, whole or not at all.
  /// - Throws: ``PipelineError``, `SafeIOError` and the container's own errors.
  public func write(_ model: QuantizedModel, to path: String, packing: PackOptions = .init()) throws {
    try write(ModelExport(model), to: path, packing: packing)
  }

  /// Writes a model to `path`, whole or not at all.
  /// - Throws: ``PipelineError``, `SafeIOError` and the container's own errors.
  public func write(_ model: ModelExport, to path: String, packing: PackOptions = .init()) throws {
    try checkOutput(path, source: model.source)
    if model.source.graph.turnsInputs { try checkTurnedInputs() }
    try write(streams ? model : model.resolved(), path, packing)
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
  public func check(_ plan: QuantizationPlan) throws(PipelineError) {
    for entry in plan.entries {
      guard let codec = plan.choices[entry.name]?.codec else { continue }
      if let reason = refusal(codec, entry.shape.rows, entry.shape.columns) {
        throw .weight(entry.name, reason: "\(name) cannot hold \(codec.canonicalName) here: \(reason)")
      }
      guard let scheme = plan.choices[entry.name]?.activations, let reason = activationRefusal(scheme, codec)
      else { continue }
      throw .weight(
        entry.name,
        reason: "\(name) cannot say that inputs are \(scheme): \(reason); adze and compressed-tensors can, "
          + "or --activation-scheme none leaves them as they are")
    }
  }

  /// Refuses, before any work is done, a recipe whose rotation turns inputs when the model runs.
  /// - Throws: ``PipelineError/usage(_:hint:)``.
  public func check(_ recipe: QuantizationRecipe) throws(PipelineError) {
    let turns = recipe.transforms.contains { transform in
      guard transform.name == RotationTransform.name else { return false }
      let inputs = transform.options["inputs"] ?? "auto"
      return inputs == "always" || (inputs == "auto" && recipe.roundsInputs)
    }
    if turns { try checkTurnedInputs() }
  }

  private func checkTurnedInputs() throws(PipelineError) {
    guard name != ModelContainer.packed.name else { return }
    throw .usage(
      "\(name) cannot say that inputs are multiplied with Hadamard matrices when the model runs",
      hint: "write an .adze file, or leave inputs as they are: --transform rotation:inputs=never")
  }

  /// What containers say that know nothing of caches.
  static let noCache: @Sendable (KVFormat) -> String? = { _ in
    "it has no place for how keys and values are cached"
  }

  /// Refuses a cache that the container cannot say, before any work is done.
  /// - Throws: ``PipelineError/usage(_:hint:)``.
  public func check(cache: KVFormat?) throws(PipelineError) {
    guard let cache, let reason = cacheRefusal(cache) else { return }
    throw .usage(
      "\(name) cannot say that the cache is \(cache): \(reason)",
      hint: "write an .adze file, or choose the cache when the model runs (--kv-cache)")
  }

  /// A warning for a model with a cache of its own that the container cannot say; nil when there is none.
  public func cacheWarning(for model: ModelExport) -> String? {
    guard let format = model.cache?.format, let reason = cacheRefusal(format) else { return nil }
    return "that keys and values are cached as \(format) is not stored: \(reason)"
  }

  /// What containers say that know nothing of inputs.
  static let noActivations: @Sendable (ActivationScheme, any Codec) -> String? = { scheme, _ in
    scheme.kind == .float32 ? nil : "it has no place for how inputs are quantized"
  }

  /// A warning for layers whose inputs the model quantizes and the container cannot say so; nil when there are none.
  public func activationWarning(for model: ModelExport) -> String? {
    let codecs = CompanionScales(model).codecs
    var reasons: [String: Int] = [:]
    for (name, input) in model.activations {
      guard let codec = codecs[name], let reason = activationRefusal(input.scheme, codec) else { continue }
      reasons["\(input.scheme): \(reason)", default: 0] += 1
    }
    guard !reasons.isEmpty else { return nil }
    return "how the inputs of \(reasons.values.reduce(0, +)) layers are quantized is not stored ("
      + reasons.keys.sorted().joined(separator: "; ") + ")"
  }
}
