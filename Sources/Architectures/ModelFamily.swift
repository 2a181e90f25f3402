import Codecs
import GraphIR
import OrderedCollections
import SafeIO
import TensorCore

/// One kind of model that can be imported; ``all`` is the registry.
public struct ModelFamily: Sendable {
  /// What documents and reports call it.
  public let name: String
  /// What is special about it, in a sentence.
  public let summary: String
  /// Values of `model_type` in config.json.
  public let modelTypes: [String]
  /// Values of `architectures` in config.json.
  public let architectures: [String]
  /// Whether its checkpoints stack what belongs to experts; see ``separated(_:of:)``.
  var stacksExperts = false
  /// How GGUF files spell its models; nil when they are neither read nor written as GGUF.
  var gguf: GGUFDialect?
  /// Reads the configuration; nil for families that are no decoders.
  let read: (@Sendable (inout ConfigurationReader) throws(ArchitectureError) -> Decoder)?
  /// Reads the configuration and builds the graph.
  let build: @Sendable (inout ConfigurationReader, WeightCatalog) throws(ArchitectureError) -> ImportedModel

  /// The `general.architecture` of its GGUF files; nil when they are neither read nor written.
  public var ggufArchitecture: String? { gguf?.architecture }

  /// All families.
  public static let all: [ModelFamily] = [
    .llama, .mistral, .mixtral, .qwen2, .qwen2MoE, .qwen3, .qwen3MoE, .gemma, .gemma2, .gemma3, .phi, .phi3,
    .olmo, .olmo2, .granite, .cohere, .glm4, .smolLM3, .starCoder2, .stableLM, .falcon, .bloom, .gpt2, .gptJ,
    .gptNeoX, .opt, .deepSeek2, .deepSeek3, .olmo3, .seedOSS, .ernie, .glm4MoE,
    .nemotron, .olmoe, .gptOSS,
  ]

  /// A family of decoders, given by what its configuration says.
  static func decoder(
    name: String, summary: String, modelTypes: [String], architectures: [String],
    gguf: GGUFDialect? = nil,
    _ read: @escaping @Sendable (inout ConfigurationReader) throws(ArchitectureError) -> Decoder
  ) -> ModelFamily {
    ModelFamily(
      name: name, summary: summary, modelTypes: modelTypes, architectures: architectures, gguf: gguf,
      read: read
    ) { (reader, weights) throws(ArchitectureError) in
      let decoder = try read(&reader)
      try ConfigurationKeys.checkCommon(&reader, family: name)
      return try decoder.importModel(weights)
    }
  }

  /// The family that reads the model of this configuration.
  ///
  /// `model_type` decides; where it is absent, `architectures`. Where both are there, they must agree.
  /// - Throws: ``ArchitectureError/unknownModel(_:)``.
  public static func family(of configuration: JSONValue) throws(ArchitectureError) -> ModelFamily {
    let architectures = (configuration["architectures"]?.arrayValue ?? []).compactMap(\.stringValue)
    if let type = configuration["model_type"]?.stringValue {
      guard let family = all.first(where: { $0.modelTypes.contains(type) }) else {
        throw .unknownModel("model_type '\(type)'")
      }
      guard architectures.isEmpty || architectures.contains(where: family.architectures.contains) else {
        throw .unknownModel(architectures.joined(separator: ", "))
      }
      return family
    }
    guard let family = all.first(where: { $0.architectures.contains(where: architectures.contains) }) else {
      throw .unknownModel(
        architectures.isEmpty
          ? "a configuration without model_type and architectures" : architectures.joined(separator: ", "))
    }
    return family
  }

  /// Imports a model: finds the family, validates the configuration against the tensors, and builds the graph.
  /// - Throws: ``ArchitectureError`` naming the key or tensor.
  public static func importModel(
    configuration: JSONValue, weights: WeightCatalog
  ) throws(ArchitectureError) -> ImportedModel {
    try family(of: configuration).importModel(configuration: configuration, weights: weights)
  }

  /// Imports a model of this family.
  /// - Throws: ``ArchitectureError`` naming the key or tensor.
  public func importModel(
    configuration: JSONValue, weights: WeightCatalog
  ) throws(ArchitectureError) -> ImportedModel {
    guard let object = configuration.objectValue else {
      throw .configuration(key: "config.json", expected: "an object", found: configuration.kindName)
    }
    var reader = ConfigurationReader(object)
    var model = try build(&reader, weights)
    model.warnings = reader.warnings + model.warnings + reader.unreadKeyWarnings
    return model
  }
}

/// A model after import: the textbook graph, and what belongs to it besides the checkpoint's tensors.
public struct ImportedModel: Sendable {
  /// Name of the family.
  public var family: String
  /// Inputs `tokens: i32[T]` and `positions: i32[T]`, output `logits: f32[T, vocabulary]`; constants carry the
  /// checkpoint's names.
  public var graph: Graph
  /// Constants of the graph that the checkpoint does not hold, such as rotary frequencies (f32).
  public var derivedConstants: OrderedDictionary<String, Tensor>
  /// Tensors of the checkpoint that lie otherwise than the graph's constants of the same names.
  public var rearrangements: OrderedDictionary<String, Rearrangement>
  /// Whether the weights lie as the graph wants them already, not as the checkpoint's format does.
  public var isArranged = false
  /// Sizes and special tokens.
  public var configuration: ModelConfiguration
  /// What a person should know: tensors and keys that were not used, contradictions that were resolved.
  public var warnings: [String]
}

/// Sizes and special tokens of a model.
public struct ModelConfiguration: Sendable, Equatable {
  /// Rows of the embedding, columns of the logits.
  public var vocabularySize: Int
  /// Columns of the residual stream.
  public var hiddenSize: Int
  /// Columns between the feed-forward projections.
  public var intermediateSize: Int
  /// Number of decoder blocks.
  public var layerCount: Int
  /// Query heads.
  public var headCount: Int
  /// Key and value heads.
  public var kvHeadCount: Int
  /// Columns of a head.
  public var headDimension: Int
  /// Tokens that the model was made for.
  public var contextLength: Int
  /// Token that starts a sequence.
  public var bosToken: Int32?
  /// Tokens that end a sequence.
  public var eosTokens: [Int32]

  /// Adopts sizes that were validated elsewhere.
  public init(
    vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layerCount: Int, headCount: Int,
    kvHeadCount: Int, headDimension: Int, contextLength: Int, bosToken: Int32?, eosTokens: [Int32]
  ) {
    self.vocabularySize = vocabularySize
    self.hiddenSize = hiddenSize
    self.intermediateSize = intermediateSize
    self.layerCount = layerCount
    self.headCount = headCount
    self.kvHeadCount = kvHeadCount
    self.headDimension = headDimension
    self.contextLength = contextLength
    self.bosToken = bosToken
    self.eosTokens = eosTokens
  }
}

extension ImportedModel {
  /// The constants of the graph out of the checkpoint's weights: those that lie otherwise put in order, and the derived
  /// ones. Plain tensors are moved when they are first read.
  /// - Throws: `TensorCoreError`, `CodecError`.
  public func constants(
    from weights: OrderedDictionary<String, Weight>
  ) throws -> OrderedDictionary<String, Weight> {
    var result = weights
    for (name, rearrangement) in rearrangements where !isArranged {
      if let weight = weights[name] { result[name] = try rearrangement.applied(to: weight) }
    }
    for (name, tensor) in derivedConstants { result[name] = .dense(tensor) }
    return result
  }
}
