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
  /// The file's bytes.
  public let bytes: [UInt8]
  /// The tokenizer.
  public let tokenizer: any Tokenizer

  /// Reads a tokenizer.
  /// - Throws: `TokenizerError`.
  public init(kind: TokenizerKind, bytes: [UInt8], configuration: JSONValue? = nil) throws {
    self.kind = kind
    self.bytes = bytes
    tokenizer = try TokenizerFormat.load(kind: kind, bytes: bytes, configuration: configuration)
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
  /// The tokenizer, when there is one.
  public let tokenizer: TokenizerSource?
  /// Harmless oddities that a person should know of.
  public let warnings: [String]

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
