import Architectures
import Codecs
import GGUF
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore
import Tokenizers

/// Reads a GGUF file as a checkpoint under the names and in the row order of Hugging Face.
///
/// Headers are read; weights stay in the mapped file, and rows that lie in another order are moved when they are first used.
struct GGUFModel {
  let checkpoint: GGUFCheckpoint
  /// The value of `general.architecture`.
  let architecture: String
  /// The configuration in Hugging Face's keys.
  let configuration: JSONValue
  private let configurationWarnings: [String]

  init(path: String) throws { try self.init(GGUFCheckpoint(path: path)) }

  init(_ checkpoint: GGUFCheckpoint) throws {
    self.checkpoint = checkpoint
    guard let architecture = checkpoint.metadata["general.architecture"]?.stringValue else {
      throw Self.unsupported(checkpoint, "general.architecture is missing", hint: nil)
    }
    guard !checkpoint.tensors.isEmpty else {
      throw Self.unsupported(
        checkpoint, "it holds a vocabulary and no tensors", hint: "adze tokenize and adze inspect read it")
    }
    let metadata = checkpoint.metadataJSON
    let dialect = try GGUFDialect.dialect(architecture: architecture, metadata: metadata)
    self.architecture = architecture
    let names = checkpoint.tensors
    let read = try dialect.configuration(
      from: metadata,
      contents: GGUFDialect.Contents(
        embeddingRows: names["token_embd.weight"]?.shape.dimensions.first,
        rotaryTables: try Self.rotaryTables(checkpoint), hasTensor: { names[$0] != nil }))
    configuration = Self.withHistory(read.configuration, checkpoint)
    configurationWarnings = read.warnings
  }

  private static func unsupported(_ checkpoint: GGUFCheckpoint, _ reason: String, hint: String?)
    -> PipelineError
  {
    .unsupportedFormat(path: checkpoint.path, format: "GGUF", reason: reason, hint: hint)
  }

  /// The configuration with what was done to the weights before, when the file says it.
  private static func withHistory(_ configuration: JSONValue, _ checkpoint: GGUFCheckpoint) -> JSONValue {
    guard let text = checkpoint.metadata[GGUFExport.provenanceKey]?.stringValue,
      let history = try? JSONValue.parse(Array(text.utf8)), var object = configuration.objectValue
    else { return configuration }
    object[HuggingFaceExport.provenanceKey] = history
    return .object(object)
  }

  private static func rotaryTables(_ checkpoint: GGUFCheckpoint) throws -> [String: [Float]] {
    var tables: [String: [Float]] = [:]
    for name in GGUFDialect.rotaryTableNames {
      guard let entry = checkpoint.tensors[name] else { continue }
      // Heads are at most 2^14 wide, so that a larger table is refused before it is read.
      guard entry.shape.elementCount <= 1 << 14 else {
        throw PipelineError.weight(name, reason: "is too large for a table of rotary factors")
      }
      tables[name] = try checkpoint.tensor(named: name).floats()
    }
    return tables
  }

  /// The model; without its tokenizer when that is not wanted, as making one takes time.
  func load(withTokenizer: Bool = true) throws -> LoadedModel {
    let (stored, companions) = try GGUFWeights(self).read()
    var catalog = WeightCatalog(stored)
    catalog.isArranged = true
    let imported = try ModelFamily.importModel(configuration: configuration, weights: catalog)
    if let unused = stored.keys.first(where: { imported.graph.constants[$0] == nil }) {
      throw PipelineError.weight(
        unused,
        reason: "such a \(architecture) model has no such weight, so that nobody knows what it would change")
    }
    let weights = try imported.constants(from: stored)
    var warnings = checkpoint.warnings + configurationWarnings + imported.warnings
    let tokenizer = withTokenizer ? tokenizer(&warnings) : nil
    var model = LoadedModel(
      path: checkpoint.path, format: "GGUF", files: checkpoint.files.map(\.path),
      configuration: configuration,
      summary: ModelSummary(imported), graph: imported.graph, content: .checkpoint(weights),
      derivedNames: Set(imported.derivedConstants.keys), tokenizer: tokenizer, warnings: warnings)
    model.rearrangements = imported.rearrangements
    model.companions = companions
    return model
  }

  /// A tokenizer that is not read does not keep the weights from being used.
  private func tokenizer(_ warnings: inout [String]) -> TokenizerSource? {
    do { return try checkpoint.tokenizer() } catch {
      warnings.append("the tokenizer is not read: \(error)")
      return nil
    }
  }
}

extension GGUFCheckpoint {
  /// All metadata but long lists, as JSON; a float32 becomes the shortest decimal number that means it.
  var metadataJSON: JSONObject {
    var result = JSONObject()
    for (key, value) in metadata { result[key] = value.json }
    return result
  }
}

extension GGUFValue {
  /// Lists beyond this length are vocabularies.
  private static let longestList = 1 << 16

  /// The value as JSON; nil for strings in lists, and for lists that are long or nested.
  var json: JSONValue? {
    switch self {
    case .string(let text): return .string(text)
    case .bytes: return stringValue.map { .string($0) }
    case .bool(let value): return .bool(value)
    case .float32(let value): return Self.json(value)
    case .float64(let value): return .number(value)
    case .array(let array):
      guard array.count <= Self.longestList else { return nil }
      if let integers = array.integers { return .array(integers.map { JSONValue($0) }) }
      if let floats = array.floats { return .array(floats.map(Self.json)) }
      if case .bool(let values) = array { return .array(values.map { .bool($0) }) }
      return nil
    default: return intValue.map { JSONValue($0) }
    }
  }

  private static func json(_ value: Float) -> JSONValue { .number(Double("\(value)") ?? Double(value)) }
}
