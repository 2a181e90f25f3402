import Architectures
import SafeIO

/// Sizes and special tokens of a model, as reports show them and packed files keep them.
public struct ModelSummary: Sendable, Equatable {
  /// Name of the family.
  public var family: String
  /// Sizes and special tokens.
  public var sizes: ModelConfiguration

  /// Summarizes an imported model.
  public init(_ model: ImportedModel) {
    family = model.family
    sizes = model.configuration
  }

  /// Reads what ``json`` wrote; nil when a key is missing or out of range.
  init?(json: JSONValue) {
    func count(_ key: String) -> Int? {
      json[key]?.intValue.flatMap { (1...1 << 31).contains($0) ? $0 : nil }
    }
    guard let family = json["family"]?.stringValue, let vocabulary = count("vocabulary_size"),
      let hidden = count("hidden_size"), let intermediate = count("intermediate_size"),
      let layers = count("layers"),
      let heads = count("attention_heads"), let keyValueHeads = count("key_value_heads"),
      let headDimension = count("head_dimension"), let context = count("context_length"),
      let ends = json["end_of_sequence"]?.arrayValue?.map({ $0.intValue.flatMap { Int32(exactly: $0) } }),
      !ends.contains(nil)
    else { return nil }
    self.family = family
    sizes = ModelConfiguration(
      vocabularySize: vocabulary, hiddenSize: hidden, intermediateSize: intermediate, layerCount: layers,
      headCount: heads, kvHeadCount: keyValueHeads, headDimension: headDimension, contextLength: context,
      bosToken: json["begin_of_sequence"]?.intValue.flatMap { Int32(exactly: $0) },
      eosTokens: ends.compactMap { $0 })
  }

  /// One object with snake-case keys.
  public var json: JSONValue {
    [
      "family": .string(family),
      "layers": JSONValue(sizes.layerCount),
      "hidden_size": JSONValue(sizes.hiddenSize),
      "intermediate_size": JSONValue(sizes.intermediateSize),
      "attention_heads": JSONValue(sizes.headCount),
      "key_value_heads": JSONValue(sizes.kvHeadCount),
      "head_dimension": JSONValue(sizes.headDimension),
      "vocabulary_size": JSONValue(sizes.vocabularySize),
      "context_length": JSONValue(sizes.contextLength),
      "begin_of_sequence": sizes.bosToken.map { JSONValue(Int($0)) } ?? .null,
      "end_of_sequence": .array(sizes.eosTokens.map { JSONValue(Int($0)) }),
    ]
  }
}
