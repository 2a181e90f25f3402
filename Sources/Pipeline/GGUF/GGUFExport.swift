import Architectures
import Codecs
import GGUF
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// Writes a model as GGUF, in the way that llama.cpp's loader wants it.
///
/// Vectors (norms, biases, rotary factors) are F32; matrices keep their type unless another one is asked for; quantized
/// matrices keep their bits. Rows, names and metadata follow the family's ``GGUFDialect``.
package struct GGUFExport {
  /// The model that the weights belong to.
  let source: LoadedModel
  /// All weights, quantized and untouched.
  let weights: OrderedDictionary<String, Weight>
  /// What was done to the weights; null for nothing.
  var provenance: JSONValue = .null
  /// How weights are stored anew as they are written; nil: as they are.
  var recodings: WeightRecodings?
  /// Scales of inputs that are stored beside weights, by the checkpoint's names.
  private let companions: OrderedDictionary<String, Tensor>
  /// What a part may hold; no limits: one file, whatever its size.
  package var partLimit: PartLimit
  private let pendingSync: PendingSync?

  /// Key of what was done to the weights, a text of JSON.
  static let provenanceKey = "adze.provenance"

  /// A model on its way into a container.
  /// - Throws: `TensorCoreError` for scales that are no numbers.
  package init(_ model: ModelExport) throws {
    source = model.source
    weights = model.weights
    provenance = model.history
    recodings = model.recodings
    partLimit = model.partLimit
    pendingSync = model.pendingSync
    companions = try ModelContainer.gguf.companions(CompanionScales(model)).tensors
  }

  /// A checkpoint as it is.
  /// - Throws: ``PipelineError/unsupportedFormat(path:format:reason:hint:)`` for packed files, `TensorCoreError`.
  package init(_ model: LoadedModel) throws {
    try self.init(
      ModelExport(
        source: model, weights: model.requireCheckpoint(),
        history: model.configuration[HuggingFaceExport.provenanceKey] ?? .null))
  }

  /// Writes the file, or its parts.
  /// - Returns: the paths written.
  /// - Throws: ``PipelineError``, `ArchitectureError`, `GGUFError`, `SafeIOError`.
  @discardableResult
  package func write(to path: String) throws -> [String] {
    let (metadata, tensors) = try contents()
    return try GGUFWriter.writeSplit(
      metadata: metadata, tensors: tensors, to: path, limit: partLimit, pending: pendingSync)
  }

  /// The files that ``write(to:)`` would write.
  /// - Throws: as ``write(to:)``.
  func files(_ path: String) throws -> [PlannedFile] {
    let (metadata, tensors) = try contents()
    return try GGUFWriter.files(metadata: metadata, tensors: tensors, to: path, limit: partLimit)
  }

  private func contents() throws -> (
    OrderedDictionary<String, GGUFValue>, OrderedDictionary<String, GGUFTensorSource>
  ) {
    let description = try Self.description(of: source)
    let tensors = try sources(description)
    return (try metadata(description, tensors), tensors)
  }

  /// What a file would say of a model.
  /// - Throws: `ArchitectureError` naming what such files cannot express.
  static func description(of model: LoadedModel) throws -> GGUFDescription {
    try GGUFDialect.description(
      of: model.configuration,
      weights: WeightCatalog(try model.requireCheckpoint().filter { model.isStored($0.key) }))
  }

  // MARK: Metadata

  private func metadata(
    _ description: GGUFDescription, _ tensors: OrderedDictionary<String, GGUFTensorSource>
  ) throws -> OrderedDictionary<String, GGUFValue> {
    if let kept = try keptMetadata(tensors) { return kept }
    var result: OrderedDictionary<String, GGUFValue> = [
      "general.architecture": .string(description.architecture), "general.type": .string("model"),
      "general.name": .string(modelName),
    ]
    for (key, field) in description.metadata {
      result[key] =
        switch field {
        case .uint32(let value): .uint32(value)
        case .float32(let value): .float32(value)
        case .bool(let value): .bool(value)
        case .string(let value): .string(value)
        case .bools(let values): .array(.bool(values))
        }
    }
    result["general.file_type"] = .uint32(GGUFFileType(tensors).rawValue)
    if tensors.values.contains(where: { $0.type.blockCount > 1 }) {
      result["general.quantization_version"] = .uint32(2)
    }
    for (key, value) in try GGUFTokenizer.metadata(of: source) { result[key] = value }
    if !provenance.isNull { result[Self.provenanceKey] = .string(provenance.serialized()) }
    return result
  }

  /// The metadata of a GGUF source whose tensors keep their types: every entry in its order, also those that mean
  /// nothing here, so that reading and writing changes nothing. Nil for other sources.
  private func keptMetadata(
    _ tensors: OrderedDictionary<String, GGUFTensorSource>
  ) throws -> OrderedDictionary<String, GGUFValue>? {
    guard let part = source.files.first, GGUFFile.isGGUF(path: part) else { return nil }
    let original = try GGUFCheckpoint(path: part)
    guard original.tensors.count == tensors.count,
      original.tensors.values.allSatisfy({ tensors[$0.name]?.type == $0.type })
    else { return nil }
    var result = original.metadata
    if !provenance.isNull { result[Self.provenanceKey] = .string(provenance.serialized()) }
    return result
  }

  /// What the source calls the model, else the name of its file or directory.
  private var modelName: String {
    let path = source.configuration["_name_or_path"]?.stringValue ?? ""
    let trimmed = String((path.isEmpty ? source.path : path).reversed().drop { $0 == "/" }.reversed())
    let name = FileReading.fileName(trimmed)
    for suffix in [".safetensors", ".gguf", ".bin"] where name.hasSuffix(suffix) && name != suffix {
      return String(name.dropLast(suffix.count))
    }
    return name.isEmpty ? "model" : name
  }

  // MARK: Tensors

  private func sources(
    _ description: GGUFDescription
  ) throws -> OrderedDictionary<String, GGUFTensorSource> {
    let stored = weights.filter { source.isStored($0.key) }
    let names = try GGUFNames(configuration: source.configuration, weights: WeightCatalog(stored))
    var result: OrderedDictionary<String, GGUFTensorSource> = [:]
    var stacks: OrderedDictionary<String, [(Int, GGUFPart)]> = [:]
    func add(_ name: String, _ source: GGUFTensorSource) throws {
      guard result.updateValue(source, forKey: name) == nil else {
        throw PipelineError.weight(name, reason: "two weights have this name in GGUF")
      }
    }
    for (name, weight) in stored {
      guard let place = names.storedPlace(ofCheckpoint: name) else {
        throw PipelineError.weight(
          name, reason: "has no place in a GGUF file of '\(description.architecture)'")
      }
      if case .stacked = place.transform {
        stacks[place.name, default: []].append(
          (place.index ?? 0, GGUFPart(weight, name: name, stored: place.name)))
        continue
      }
      for (name, source) in try tensorSources(place, weight, checkpointName: name) { try add(name, source) }
    }
    for (name, parts) in stacks { try add(name, stacked(parts, name: name)) }
    for (name, values) in description.rotaryTables {
      try add(name, GGUFTensorSource(Tensor(values, shape: Shape([values.count]))))
    }
    if description.needsHead, let embedding = result["token_embd.weight"] {
      try add("output.weight", embedding)
    }
    return result
  }

  private func tensorSources(
    _ place: GGUFPlace, _ weight: Weight, checkpointName: String
  ) throws -> [(String, GGUFTensorSource)] {
    let part = try part(weight, place, checkpointName)
    var result = [(place.name, try GGUFPart.source([part], recodings: recodings, name: checkpointName))]
    guard case .encoded(let matrix) = part.weight, let scale = matrix.planes["global_scale"],
      place.name.hasSuffix(".weight")
    else { return result }
    let stem = place.name.dropLast(7)
    // A scale that is not there is 1.
    if try scale.floats() != [1] {
      result.append((stem + ".scale", try GGUFTensorSource(scale.reshaped(to: [1]))))
    }
    if let scale = companions[checkpointName.dropLast(7) + ".input_scale"] {
      result.append((stem + ".input_scale", try GGUFTensorSource(Tensor(scale.floats(), shape: [1]))))
    }
    return result
  }

  private func part(_ weight: Weight, _ place: GGUFPlace, _ name: String) throws -> GGUFPart {
    // Rows of a codec with a scale of the whole matrix cannot be made piece by piece.
    var weight = weight
    if case .round(let codec, _) = recodings?.entries[name], !codec.isRowwise, let recodings {
      weight = try recodings.apply(to: weight, named: name)
    }
    switch place.transform {
    case .none, .stacked, .fusedPart: return GGUFPart(weight, name: name, stored: place.name)
    case .row:
      // A vector of the values that a quantized row stands for.
      let values =
        if case .dense(let tensor) = weight { tensor } else {
          try Tensor(weight.decoded().values, shape: weight.shape)
        }
      let vector = try values.reshaped(to: Shape([values.shape.elementCount]))
      return GGUFPart(.dense(vector), name: name, stored: place.name)
    case .shifted(let amount):
      guard case .dense(let tensor) = weight else {
        throw PipelineError.weight(name, reason: "quantized values cannot be shifted, which GGUF wants here")
      }
      let shifted = try Tensor(tensor.floats().map { $0 + amount }, shape: tensor.shape)
      return GGUFPart(.dense(shifted), name: name, stored: place.name)
    case .rotaryRows, .rows, .headRows:
      let rows = weight.shape.dimensions.first ?? 0
      guard let order = place.transform.checkpointRows(count: rows) else {
        throw PipelineError.weight(name, reason: "\(rows) rows are not the heads of the configuration")
      }
      return GGUFPart(weight, name: name, stored: place.name, order: order)
    }
  }

  private func stacked(_ parts: [(Int, GGUFPart)], name: String) throws -> GGUFTensorSource {
    let ordered = parts.sorted { $0.0 < $1.0 }
    guard ordered.map(\.0) == Array(ordered.indices) else {
      throw PipelineError.weight(name, reason: "some of the stacked tensors are missing")
    }
    return try GGUFPart.source(ordered.map(\.1), recodings: recodings, name: name, isStack: true)
  }
}

extension LoadedModel {
  /// Whether a weight is written: tables of the importer are not, nor tensors that the model does not use, which loading
  /// has warned of.
  fileprivate func isStored(_ name: String) -> Bool {
    graph.constants[name] != nil && !derivedNames.contains(name)
  }
}
