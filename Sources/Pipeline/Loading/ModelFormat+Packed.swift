import Architectures
import Codecs
import Execution
import GraphIR
import Kernels
import OrderedCollections
import PackedModel
import SafeIO
import TensorCore
import Tokenizers

extension ModelFormat {
  /// A file that `adze pack` wrote.
  static let packed = ModelFormat(
    name: "packed model",
    recognises: { PackedFile.isPacked(path: $0) },
    load: { path in try PackedModelReader(path: path).load() })
}

/// Reads a packed model: sections are used where they lie, unless they are compressed.
struct PackedModelReader {
  let path: String
  let file: PackedFile

  init(path: String) throws {
    self.path = path
    file = try PackedFile(path: path, supportedFeatures: PackOptions.supportedFeatures)
  }

  func load() throws -> LoadedModel {
    let layoutName = file.metadata["layout"]?.stringValue ?? ""
    guard let layout = PackOptions.Layout(rawValue: layoutName) else {
      throw bad("metadata", "layout '\(layoutName)' is unknown")
    }
    guard let summary = file.metadata["summary"].flatMap({ ModelSummary(json: $0) }),
      let configuration = file.metadata["configuration"], let table = file.metadata["tensors"]
    else { throw bad("metadata", "lacks summary, configuration or tensors") }
    let graph = try Graph(parsing: text("graph"))
    try graph.verify()
    let outputs = graph.outputs.map { graph.type(of: $0).columns ?? 0 }
    guard outputs == [summary.sizes.vocabularySize] else {
      throw bad(
        "graph", "returns \(outputs) columns, and the vocabulary has \(summary.sizes.vocabularySize) tokens")
    }
    let bitsPerWeight = file.metadata["bits_per_weight"]?.doubleValue ?? -1
    guard (0...64).contains(bitsPerWeight) else {
      throw bad("metadata", "bits_per_weight is not from 0 to 64")
    }
    var prepared = try PreparedWeights(
      matrices: layout == .panel16 ? panels(table) : planes(table), vectors: vectors(table))
    prepared.activations = try inputs(table)
    if let value = file.metadata["kv_cache"], !value.isNull {
      guard let cache = CacheQuantization(json: value) else {
        throw bad("metadata", "'kv_cache' is not understood")
      }
      if let problem = cache.problem(heads: graph.cacheHeads) {
        throw bad("metadata", "kv_cache: \(problem)")
      }
      prepared.cache = cache
    }
    // Weights and graph are fitted to each other here, so that whatever reads the model can rely on it.
    _ = try Program(graph: graph, weights: prepared)
    return LoadedModel(
      path: path, format: "packed model", files: [path], configuration: configuration, summary: summary,
      graph: graph,
      content: .packed(
        prepared,
        PackedDescription(
          layout: layout, bitsPerWeight: bitsPerWeight,
          provenance: file.metadata["provenance"] ?? .null)),
      derivedNames: [], tokenizer: try tokenizer(), warnings: [])
  }

  private func bad(_ section: String, _ reason: String) -> PipelineError {
    .badPackedModel(path: path, section: section, reason: reason)
  }

  private func text(_ section: String) throws -> String {
    String(decoding: try file.bytes(of: section, checked: true).array, as: UTF8.self)
  }

  private func tokenizer() throws -> TokenizerSource? {
    guard let name = file.metadata["tokenizer"]?.stringValue else { return nil }
    guard let kind = TokenizerKind(rawValue: name) else {
      throw bad("tokenizer", "kind '\(name)' is unknown")
    }
    return try TokenizerSource(kind: kind, bytes: file.bytes(of: "tokenizer", checked: true).array)
  }

  private func entries(_ table: JSONValue, _ key: String) throws -> [JSONValue] {
    guard let entries = table[key]?.arrayValue else { throw bad("metadata", "tensors lack '\(key)'") }
    return entries
  }

  private func field(_ entry: JSONValue, _ key: String) throws -> Int {
    guard let value = entry[key]?.intValue, (0...1 << 40).contains(value) else {
      throw bad("metadata", "'\(entry["name"]?.stringValue ?? "?")' lacks a '\(key)' from 0 to 2^40")
    }
    return value
  }

  private func name(_ entry: JSONValue, _ key: String = "name") throws -> String {
    guard let value = entry[key]?.stringValue else { throw bad("metadata", "a tensor lacks '\(key)'") }
    return value
  }

  private func vectors(_ table: JSONValue) throws -> OrderedDictionary<String, [Float]> {
    let section = try file.bytes(of: "vectors", checked: true)
    let all = try section.tensor(.f32, Shape([section.byteCount / 4]))
    var result: OrderedDictionary<String, [Float]> = [:]
    var total = 0
    for entry in try entries(table, "vectors") {
      let (offset, count) = (try field(entry, "offset"), try field(entry, "count"))
      let end = try Checked.sum(offset, count)
      total = try Checked.sum(total, count)
      guard end <= all.shape.elementCount, total <= all.shape.elementCount else {
        throw bad("vectors", "'\(try name(entry))' lies outside the section or on another vector")
      }
      try insert(try all.floats(elements: offset..<end), entry, into: &result)
    }
    return result
  }

  private func insert<Value>(
    _ value: Value, _ entry: JSONValue, into result: inout OrderedDictionary<String, Value>
  ) throws {
    let key = try name(entry)
    guard result.updateValue(value, forKey: key) == nil else {
      throw bad("metadata", "two tensors are called '\(key)'")
    }
  }

  private func panels(_ table: JSONValue) throws -> OrderedDictionary<String, PanelMatrix> {
    var result: OrderedDictionary<String, PanelMatrix> = [:]
    for entry in try entries(table, "matrices") {
      let section = try name(entry, "section")
      guard let encoding = PanelEncoding(rawValue: try name(entry, "encoding")) else {
        throw bad(section, "encoding '\(try name(entry, "encoding"))' is unknown")
      }
      guard let hasZeros = entry["has_zeros"]?.boolValue else { throw bad(section, "lacks 'has_zeros'") }
      let matrix = try PanelMatrix(
        encoding: encoding, rows: field(entry, "rows"), columns: field(entry, "columns"),
        blockLength: field(entry, "block_length"), hasZeros: hasZeros, storage: bytes(section))
      try insert(matrix, entry, into: &result)
    }
    return result
  }

  /// How the inputs of matrices are quantized, where the table says it.
  private func inputs(_ table: JSONValue) throws -> OrderedDictionary<String, InputQuantization> {
    var result: OrderedDictionary<String, InputQuantization> = [:]
    for entry in try entries(table, "matrices") {
      guard let value = entry["input"], !value.isNull else { continue }
      guard let input = InputQuantization(json: value) else {
        throw bad("metadata", "'\(try name(entry))' has an 'input' that is not understood")
      }
      result[try name(entry)] = input
    }
    return result
  }

  private func bytes(_ section: String) throws -> Tensor {
    let bytes = try file.bytes(of: section)
    return try bytes.tensor(.u8, Shape([bytes.byteCount]))
  }

  private func planes(_ table: JSONValue) throws -> OrderedDictionary<String, PanelMatrix> {
    var result: OrderedDictionary<String, PanelMatrix> = [:]
    var uses: [String: Int] = [:]
    let arena = WeightArena()
    for entry in try entries(table, "matrices") {
      let members = try entries(entry, "members")
      for member in members { try count(member, &uses) }
      let matrix = try PanelMatrix(packing: members.map { try weight($0) }, in: arena, compacts: true)
      try insert(matrix, entry, into: &result)
    }
    return result
  }

  /// A weight may stand alone and in one concatenation. More would let a small file fill the memory.
  private func count(_ member: JSONValue, _ uses: inout [String: Int]) throws {
    for plane in try entries(member, "planes") {
      let section = try name(plane, "section")
      uses[section, default: 0] += 1
      guard uses[section, default: 0] <= 2 else { throw bad(section, "is used by more than two matrices") }
    }
  }

  private func weight(_ member: JSONValue) throws -> Weight {
    var planes: OrderedDictionary<String, Tensor> = [:]
    for plane in try entries(member, "planes") {
      let section = try name(plane, "section")
      guard let type = ElementType(rawValue: try name(plane, "element_type")) else {
        throw bad(section, "element type is unknown")
      }
      let dimensions = try entries(plane, "shape").map { $0.intValue ?? -1 }
      try insert(try file.bytes(of: section).tensor(type, Shape(dimensions)), plane, into: &planes)
    }
    let encoding = try name(member, "encoding")
    let (rows, columns) = (try field(member, "rows"), try field(member, "columns"))
    if let values = planes["values"], planes.count == 1 {
      guard values.shape.dimensions == [rows, columns] else {
        throw bad(try name(member), "has another shape")
      }
      return .dense(values)
    }
    let codec = try CodecRegistry.codec(canonicalName: encoding)
    return .encoded(try EncodedMatrix(codec: codec, rows: rows, columns: columns, planes: planes))
  }
}
