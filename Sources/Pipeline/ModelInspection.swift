import Architectures
import Codecs
import Execution
import GGUF
import GraphIR
import Kernels
import OrderedCollections
import SafeIO
import Safetensors
import TensorCore
import Tokenizers

/// What can be told of a model without reading its weights.
public struct ModelInspection: Sendable {
  /// One stored tensor.
  public struct StoredTensor: Sendable {
    /// Its name.
    public let name: String
    /// Its dimensions, as printed.
    public let shape: String
    /// Element type or codec.
    public let encoding: String
    /// Bytes of storage.
    public let byteCount: Int
    /// Storage bits divided by weights.
    public let bitsPerWeight: Double
  }

  /// Facts in the order in which people read them.
  public private(set) var facts: [(String, String)] = []
  /// Every tensor in the file's order.
  public private(set) var tensors: [StoredTensor] = []
  /// Oddities.
  public private(set) var warnings: [String] = []
  private var object = JSONObject()

  /// Inspects a model, a GGUF header or a bare safetensors file.
  /// - Throws: ``PipelineError`` and the formats' own errors.
  public init(path: String) throws {
    guard FileReading.exists(path) else { throw PipelineError.missing(path: path) }
    if GGUFFile.isGGUF(path: path) {
      try describe(gguf: GGUFCheckpoint(path: path))
    } else if SafetensorsFile.isSafetensors(path: path),
      !FileReading.exists(FileReading.directory(of: path) + "/config.json")
    {
      try describe(bare: SafetensorsFile(path: path), path: path)
    } else {
      try describe(ModelFormats.load(path, checksValues: false))
    }
  }

  /// The facts as one object; tensors only when asked for.
  public func json(withTensors: Bool) -> JSONValue {
    var result = object
    if withTensors {
      result["tensors"] = .array(
        tensors.map { tensor in
          [
            "name": .string(tensor.name), "shape": .string(tensor.shape),
            "encoding": .string(tensor.encoding),
            "bytes": JSONValue(tensor.byteCount), "bits_per_weight": .number(tensor.bitsPerWeight),
          ]
        })
    }
    return .object(result)
  }

  private mutating func add(_ title: String, _ key: String, _ value: JSONValue, _ text: String? = nil) {
    object[key] = value
    let shown = text ?? value.stringValue ?? value.serialized()
    facts.append((title, shown))
  }

  /// Describes a model; `format` names it more closely, and whoever gives it describes the tokenizer.
  private mutating func describe(_ model: LoadedModel, format: String? = nil) throws {
    warnings = model.warnings
    let summary = model.summary
    add("file", "path", .string(model.path))
    add("format", "format", .string(model.format), format)
    add("family", "family", .string(summary.family))
    add("layers", "layers", JSONValue(summary.sizes.layerCount))
    add("hidden size", "hidden_size", JSONValue(summary.sizes.hiddenSize))
    add("attention heads", "attention_heads", JSONValue(summary.sizes.headCount))
    add("key and value heads", "key_value_heads", JSONValue(summary.sizes.kvHeadCount))
    add("head dimension", "head_dimension", JSONValue(summary.sizes.headDimension))
    add("vocabulary", "vocabulary_size", JSONValue(summary.sizes.vocabularySize))
    add("context length", "context_length", JSONValue(summary.sizes.contextLength))
    switch model.content {
    case .checkpoint(let weights):
      describe(weights: weights.filter { !model.derivedNames.contains($0.key) }, of: model)
    case .packed(let prepared, let description):
      add("layout", "layout", .string(description.layout.rawValue))
      add(
        "bits per weight", "bits_per_weight", .number(description.bitsPerWeight),
        decimals(description.bitsPerWeight))
      add("provenance", "provenance", description.provenance)
      describe(activations: prepared.activations, of: prepared.matrices.count)
      for (name, matrix) in prepared.matrices {
        tensors.append(
          StoredTensor(
            name: name, shape: "[\(matrix.rows), \(matrix.columns)]", encoding: matrix.encoding.rawValue,
            byteCount: matrix.byteCount,
            bitsPerWeight: Double(matrix.byteCount) * 8 / Double(max(matrix.rows * matrix.columns, 1))))
      }
    }
    if let cache = model.statedCache { describe(cache) }
    add("nodes", "nodes", JSONValue(model.graph.nodes.count))
    add("file bytes", "file_bytes", JSONValue(model.fileByteCount))
    if format != nil { return }
    let template = HuggingFaceModel.hasChatTemplate(in: model.path)
    defer { add("chat template", "chat_template", .bool(template), template ? "yes" : "none") }
    if let tokenizer = model.tokenizer {
      add(
        "tokenizer", "tokenizer", .string(tokenizer.kind.rawValue),
        "\(tokenizer.kind.rawValue), \(tokenizer.tokenizer.vocabularyCount) tokens")
    } else {
      add("tokenizer", "tokenizer", .null, "none")
    }
  }

  /// How keys and values are cached.
  private mutating func describe(_ cache: CacheQuantization) {
    func range(_ what: String, _ side: KeyPath<KVScales, [Float]>) -> String? {
      let values = cache.scales.values.flatMap { $0[keyPath: side] }
      return values.min().map { "\(what) \($0) to \(values.max() ?? $0)" }
    }
    let scales = [range("keys", \.keys), range("values", \.values)].compactMap { $0 }
    add(
      "KV cache", "kv_cache", .object(cache.json),
      "\(cache.format)" + (scales.isEmpty ? "" : " (\(scales.joined(separator: ", ")))"))
  }

  /// How inputs are quantized, the most common way first.
  private mutating func describe(activations: OrderedDictionary<String, InputQuantization>, of total: Int) {
    guard !activations.isEmpty else { return }
    let bySchemes = Dictionary(grouping: activations.values, by: \.scheme).sorted {
      ($1.value.count, $0.key.description) < ($0.value.count, $1.key.description)
    }
    let texts = bySchemes.map { scheme, inputs in
      let scales = inputs.compactMap(\.scale)
      let columns = inputs.reduce(0) { $0 + $1.outlierColumns.count }
      let range = scales.min().map { " (scales \($0) to \(scales.max() ?? $0))" } ?? ""
      return "\(inputs.count) x \(scheme)\(range)" + (columns > 0 ? " (\(columns) outlier columns)" : "")
    }
    add(
      "activations", "activations",
      .object(JSONObject(bySchemes.map { ($0.key.description, JSONValue($0.value.count)) })),
      texts.joined(separator: ", "))
  }

  private mutating func describe(weights: OrderedDictionary<String, Weight>, of model: LoadedModel) {
    let parameters = weights.values.reduce(0) { $0 + $1.shape.elementCount }
    add("parameters", "parameters", JSONValue(parameters))
    let storage = LinearStorage(graph: model.graph, weights: weights)
    let scheme = StorageScheme(graph: model.graph, weights: weights)
    object["nominal_bits_per_weight"] = .number(scheme.nominalBits)
    add(
      "bits per weight", "bits_per_weight", .number(storage.bitsPerWeight),
      decimals(storage.bitsPerWeight) + " (linear layers; nominal \(decimals(scheme.nominalBits)))")
    if let quantization = Provenance.quantization(model.configuration) {
      add("quantization", "quantization", .string(quantization))
    }
    describe(activations: model.activations, of: weights.count)
    object["layer_schemes"] = .array(scheme.runs.map(\.json))
    for (index, run) in scheme.runs.enumerated() { facts.append((index == 0 ? "layers as" : "", run.text)) }
    for (name, encoding) in scheme.outside { facts.append(("besides", "\(name): \(encoding)")) }
    var byEncoding: OrderedDictionary<String, Int> = [:]
    for weight in weights.values { byEncoding[weight.encodingName, default: 0] += 1 }
    add(
      "storage", "encodings", .object(JSONObject(byEncoding.map { ($0.key, JSONValue($0.value)) })),
      byEncoding.map { "\($0.value) x \($0.key)" }.joined(separator: ", "))
    if let history = model.configuration[HuggingFaceExport.provenanceKey] {
      add("history", "history", history)
    }
    for entry in Provenance.origin(model.configuration) { add(entry.title, entry.key, .string(entry.value)) }
    if !model.companions.isEmpty {
      add(
        "further tensors", "companions", JSONValue(model.companions.count),
        "\(model.companions.count) scales of activations or of the KV cache")
    }
    for (name, weight) in weights {
      tensors.append(
        StoredTensor(
          name: name, shape: weight.shape.description, encoding: weight.encodingName,
          byteCount: weight.byteCount,
          bitsPerWeight: weight.bitsPerWeight))
    }
  }

  /// Architectures that are not read, and vocabularies without a model, are described by their headers.
  private mutating func describe(gguf file: GGUFCheckpoint) throws {
    let parts = file.files.count > 1 ? ", \(file.files.count) parts" : ""
    let format = "GGUF version \(file.files[0].version)\(parts)"
    do {
      try describe(GGUFModel(file).load(withTokenizer: false), format: format)
    } catch {
      self = ModelInspection(warnings: file.warnings + (file.tensors.isEmpty ? [] : ["\(error)"]))
      try describe(header: file, format: format + ", header only")
    }
    for key in ["general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre"] {
      if let value = file.metadata[key]?.stringValue { add(key, key, .string(value)) }
    }
    for key in Provenance.ggufKeys {
      guard let value = file.metadata[key] else { continue }
      let text = value.stringValue ?? value.intValue.map { "\($0)" }
      if let text { add(key, key, .string(text)) }
    }
    let tokens = file.metadata["tokenizer.ggml.tokens"]?.arrayValue?.count
    add(
      "tokenizer", "tokenizer", tokens == nil ? .null : "gguf", tokens.map { "gguf, \($0) tokens" } ?? "none")
    let template = file.metadata["tokenizer.chat_template"]?.stringValue
    add("chat template", "chat_template", .bool(template != nil), template == nil ? "none" : "yes")
  }

  private init(warnings: [String]) { self.warnings = warnings }

  private mutating func describe(header file: GGUFCheckpoint, format: String) throws {
    add("file", "path", .string(file.path))
    add("format", "format", "GGUF", format)
    add("metadata keys", "metadata_count", JSONValue(file.metadata.count))
    add("tensors", "tensor_count", JSONValue(file.tensors.count))
    var byType: OrderedDictionary<String, Int> = [:]
    for tensor in file.tensors.values { byType[tensor.type.name, default: 0] += 1 }
    add(
      "storage", "encodings", .object(JSONObject(byType.map { ($0.key, JSONValue($0.value)) })),
      byType.map { "\($0.value) x \($0.key)" }.joined(separator: ", "))
    add(
      "file bytes", "file_bytes", JSONValue(try file.files.reduce(0) { try $0 + FileReading.size($1.path) }))
    for tensor in file.tensors.values {
      tensors.append(
        StoredTensor(
          name: tensor.name, shape: tensor.shape.description, encoding: tensor.type.name,
          byteCount: tensor.byteCount,
          bitsPerWeight: Double(tensor.byteCount) * 8 / Double(max(tensor.shape.elementCount, 1))))
    }
  }

  private mutating func describe(bare file: SafetensorsFile, path: String) throws {
    warnings = file.warnings
    add("file", "path", .string(path))
    add("format", "format", "safetensors", "safetensors without config.json")
    add("metadata", "metadata", .object(JSONObject(file.metadata.map { ($0.key, .string($0.value)) })))
    add("tensors", "tensor_count", JSONValue(file.tensors.count))
    add("file bytes", "file_bytes", JSONValue(try FileReading.size(path)))
    for (name, tensor) in file.tensors {
      tensors.append(
        StoredTensor(
          name: name, shape: tensor.shape.description, encoding: tensor.elementType.name,
          byteCount: tensor.byteCount,
          bitsPerWeight: Double(tensor.elementType.bitWidth)))
    }
  }

  private func decimals(_ value: Double) -> String {
    guard abs(value) < 1e9 else { return "\(value)" }
    let thousandths = Int((value * 1000).rounded())
    let fraction = String(thousandths % 1000)
    return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
  }
}
