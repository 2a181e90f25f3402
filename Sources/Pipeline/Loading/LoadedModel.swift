import Architectures
import Codecs
import Execution
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore
import Tokenizers

/// A tokenizer with the bytes that it was read from, so that they can travel with the model.
public struct TokenizerSource: Sendable {
  /// Which format the bytes have.
  public let kind: TokenizerKind
  /// The tokenizer.
  public let tokenizer: any Tokenizer
  /// What lies beside the file and belongs to it, such as tokenizer_config.json.
  public let configuration: JSONValue?
  /// The vocabulary, when it came from GGUF metadata.
  public let vocabulary: GGUFVocabulary?
  private let contents: @Sendable () -> [UInt8]

  /// The file's bytes.
  public var bytes: [UInt8] { contents() }

  /// Reads a tokenizer.
  /// - Throws: `TokenizerError`.
  public init(kind: TokenizerKind, bytes: [UInt8], configuration: JSONValue? = nil) throws {
    self.kind = kind
    self.configuration = configuration
    vocabulary = kind == .gguf ? try GGUFVocabulary(parsingJSON: bytes) : nil
    contents = { bytes }
    tokenizer = try TokenizerFormat.load(kind: kind, bytes: bytes, configuration: configuration)
  }

  /// Makes a tokenizer of a vocabulary; its bytes are made when they are asked for.
  /// - Throws: `TokenizerError`.
  public init(vocabulary: GGUFVocabulary, file: String? = nil) throws {
    kind = .gguf
    configuration = nil
    self.vocabulary = vocabulary
    contents = { vocabulary.canonicalJSON }
    tokenizer = try TokenizerFormat.load(vocabulary: vocabulary, file: file)
  }
}

/// A model as it was read: the textbook graph with its weights, or a packed program.
public struct LoadedModel: Sendable {
  /// What the weights are.
  public enum Content: Sendable {
    /// Weights by name, for the textbook graph.
    case checkpoint(OrderedDictionary<String, Weight>)
    /// Panels for a graph after passes, and what the packed file says of itself.
    case packed(PreparedWeights, PackedDescription)
  }

  /// Where it was read from.
  public let path: String
  /// Name of the format, for people.
  public let format: String
  /// Files that it consists of.
  public let files: [String]
  /// The model's configuration, in Hugging Face's keys.
  public let configuration: JSONValue
  /// Sizes and special tokens.
  public let summary: ModelSummary
  /// Tokens to logits.
  public let graph: Graph
  /// The weights.
  public let content: Content
  /// Names of constants that the importer made and the checkpoint does not hold, such as rotary frequencies.
  public let derivedNames: Set<String>
  /// Tensors of the checkpoint that lie otherwise than the graph's constants of the same names.
  public var rearrangements: OrderedDictionary<String, Rearrangement> = [:]
  /// The tokenizer, when there is one.
  public let tokenizer: TokenizerSource?
  /// Harmless oddities that a person should know of.
  public let warnings: [String]
  /// Tensors that belong to no weight and travel with the model, such as scales of activations and of the KV cache.
  public var companions: OrderedDictionary<String, Tensor> = [:]
  /// How the inputs of weights are quantized, by names of weights; of those of a packed model its panels say it.
  public var activations: OrderedDictionary<String, InputQuantization> = [:]

  /// How keys and values are cached; nil when the model says nothing of it. Of a packed model ``statedCache`` says it.
  public var cache: CacheQuantization?

  /// How keys and values are cached, whatever the model lies in; nil when it says nothing of it.
  public var statedCache: CacheQuantization? {
    if case .packed(let prepared, _) = content { return prepared.cache }
    return cache
  }

  /// Whether the model says of any layer how its input is quantized.
  public var saysActivations: Bool {
    if case .packed(let prepared, _) = content { return !prepared.activations.isEmpty }
    return !activations.isEmpty
  }

  /// The same model with other weights, of the same names and shapes.
  package func replacing(weights: OrderedDictionary<String, Weight>) -> LoadedModel {
    LoadedModel(
      path: path, format: format, files: files, configuration: configuration, summary: summary, graph: graph,
      content: .checkpoint(weights), derivedNames: derivedNames, rearrangements: rearrangements,
      tokenizer: tokenizer, warnings: warnings, companions: companions, activations: activations, cache: cache
    )
  }

  /// The same model with another graph over the same weights.
  func replacing(graph: Graph) -> LoadedModel {
    LoadedModel(
      path: path, format: format, files: files, configuration: configuration, summary: summary, graph: graph,
      content: content, derivedNames: derivedNames, rearrangements: rearrangements,
      tokenizer: tokenizer, warnings: warnings, companions: companions, activations: activations, cache: cache
    )
  }

  /// The same model after another import, with other weights and another configuration.
  func replacing(
    configuration: JSONValue, imported: ImportedModel, weights: OrderedDictionary<String, Weight>
  ) throws -> LoadedModel {
    LoadedModel(
      path: path, format: format, files: files, configuration: configuration, summary: ModelSummary(imported),
      graph: imported.graph, content: .checkpoint(try imported.constants(from: weights)),
      derivedNames: Set(imported.derivedConstants.keys), rearrangements: imported.rearrangements,
      tokenizer: tokenizer, warnings: warnings, companions: companions, activations: activations, cache: cache
    )
  }

  /// Bytes of all weight files.
  public var fileByteCount: Int {
    files.reduce(0) { $0 + ((try? FileReading.size($1)) ?? 0) }
  }

  /// The tokenizer.
  /// - Throws: ``PipelineError/missingTokenizer(path:)``.
  public func requireTokenizer() throws(PipelineError) -> any Tokenizer {
    guard let tokenizer else { throw .missingTokenizer(path: path) }
    return tokenizer.tokenizer
  }

  /// The weights of a checkpoint.
  /// - Throws: ``PipelineError/unsupportedFormat(path:format:reason:hint:)`` for packed files.
  public func requireCheckpoint() throws(PipelineError) -> OrderedDictionary<String, Weight> {
    guard case .checkpoint(let weights) = content else {
      throw .unsupportedFormat(
        path: path, format: format,
        reason: "a packed model is for running; its weights cannot be quantized or packed again",
        hint: "start from the checkpoint that it was packed from")
    }
    return weights
  }

  /// Token that every sequence begins with, when the model uses one.
  public var beginOfSequence: Int32? { tokenizer?.tokenizer.beginOfSequence ?? summary.sizes.bosToken }
}
