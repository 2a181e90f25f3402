import Architectures
import GGUF
import OrderedCollections
import SafeIO
import Tokenizers

extension GGUFCheckpoint {
  /// The vocabulary of the metadata; nil when there is none.
  var vocabulary: GGUFVocabulary? {
    GGUFVocabulary(
      metadata: metadata.lazy.compactMap { key, value in
        guard key.hasPrefix("tokenizer."), let value = GGUFTokenizer.vocabularyValue(value) else {
          return nil
        }
        return (key: key, value: value)
      })
  }

  /// The tokenizer of the metadata; nil when there is none.
  /// - Throws: `TokenizerError`.
  func tokenizer() throws -> TokenizerSource? {
    try vocabulary.map { try TokenizerSource(vocabulary: $0, file: path) }
  }
}

/// Vocabularies between the values of GGUF files and those of tokenizers.
enum GGUFTokenizer {
  /// The value as vocabularies have it; nil for kinds that they never have.
  static func vocabularyValue(_ value: GGUFValue) -> GGUFVocabulary.MetadataValue? {
    switch value {
    case .string, .bytes: return value.stringValue.map { .string($0) }
    case .bool(let flag): return .flag(flag)
    case .array(.string(let strings)): return .strings((0..<strings.count).map(strings.bytes(at:)))
    case .array(.float32(let values)): return .floats(values)
    case .array(.int32(let values)): return .integers(values)
    case .array(.uint32(let values)): return .integers(values.map { Int32(clamping: $0) })
    case .array(.uint8(let values)): return .bytes(values)
    case .array(.int8(let values)): return .bytes(values.map { UInt8(bitPattern: $0) })
    default: return value.intValue.map { .integer($0) }
    }
  }

  /// The value as files have it.
  static func fileValue(_ value: GGUFVocabulary.MetadataValue) -> GGUFValue {
    switch value {
    case .string(let text): .string(text)
    case .strings(let strings): .array(.string(GGUFStrings(strings)))
    case .floats(let values): .array(.float32(values))
    case .integers(let values): .array(.int32(values))
    case .bytes(let values): .array(.uint8(values))
    case .integer(let value): .uint32(UInt32(clamping: value))
    case .flag(let flag): .bool(flag)
    }
  }

  /// The entries for a file that holds a model; none when the model has no tokenizer.
  /// - Throws: `TokenizerError` and ``PipelineError`` for tokenizers that such files cannot express.
  static func metadata(of model: LoadedModel) throws -> OrderedDictionary<String, GGUFValue> {
    var result: OrderedDictionary<String, GGUFValue> = [:]
    guard let tokenizer = model.tokenizer else {
      // Loaders want to be told that there is no vocabulary; the file still says which tokens begin and end a sequence.
      result["\(GGUFVocabulary.keyPrefix)model"] = .string("no_vocab")
      let ids = [("bos", model.summary.sizes.bosToken), ("eos", model.summary.sizes.eosTokens.first)]
      for case (let name, let id?) in ids {
        result["\(GGUFVocabulary.keyPrefix)\(name)_token_id"] = .uint32(UInt32(clamping: id))
      }
      return result
    }
    guard var vocabulary = try tokenizer.ggufVocabulary(sentencePiece: sentencePiece(of: model)) else {
      return result
    }
    try complete(&vocabulary, for: model)
    for (key, value) in vocabulary.metadata { result[key] = fileValue(value) }
    return result
  }

  /// The `tokenizer.model` beside a `tokenizer.json`, which has the scores that the latter lacks; nil when there is none.
  private static func sentencePiece(of model: LoadedModel) throws -> [UInt8]? {
    guard model.tokenizer?.kind == .tokenizerJSON, model.isHuggingFace else { return nil }
    let directory =
      FileReading.isDirectory(model.path) ? model.path : FileReading.directory(of: model.path)
    let path = directory + "/tokenizer.model"
    guard FileReading.exists(path) else { return nil }
    return try FileReading.readAll(path, limit: Limits.standard.maxHeaderBytes)
  }

  /// What of a model's tokenizer a file cannot hold: a sentence each.
  static func losses(of model: LoadedModel) -> [String] {
    guard let tokenizer = model.tokenizer, tokenizer.kind == .tokenizerJSON else { return [] }
    return GGUFVocabulary.losses(tokenizerJSON: tokenizer.bytes)
  }

  /// Gives every row of the embedding a token, as the loader wants it, and takes ends of a sequence from the
  /// configuration where the tokenizer names none.
  private static func complete(_ vocabulary: inout GGUFVocabulary, for model: LoadedModel) throws {
    let rows = model.summary.sizes.vocabularySize
    let count = vocabulary.tokens.count
    guard count <= rows else {
      throw unsupported(model, "the tokenizer has \(count) tokens, the embedding \(rows) rows")
    }
    if count < rows {
      let types =
        vocabulary.types ?? [Int32](repeating: GGUFVocabulary.TokenType.normal.rawValue, count: count)
      let missing = rows - count
      vocabulary.tokens += (count..<rows).map { Array("[PAD\($0)]".utf8) }
      vocabulary.types =
        types + [Int32](repeating: GGUFVocabulary.TokenType.unused.rawValue, count: missing)
      // As far below every score as converters put tokens that never occur.
      vocabulary.scores = vocabulary.scores.map { $0 + [Float](repeating: -1000, count: missing) }
    }
    if vocabulary.ids["bos_token_id"] == nil { vocabulary.ids["bos_token_id"] = model.summary.sizes.bosToken }
    if vocabulary.ids["eos_token_id"] == nil {
      vocabulary.ids["eos_token_id"] = model.summary.sizes.eosTokens.first
    }
  }

  private static func unsupported(_ model: LoadedModel, _ reason: String) -> PipelineError {
    .unsupportedFormat(path: model.path, format: "GGUF", reason: reason, hint: nil)
  }
}

extension TokenizerSource {
  /// The vocabulary as GGUF files have it.
  /// - Parameter sentencePiece: the bytes of the `tokenizer.model` beside a `tokenizer.json`.
  /// - Throws: `TokenizerError` for tokenizers that such files cannot express.
  func ggufVocabulary(sentencePiece: [UInt8]? = nil) throws -> GGUFVocabulary? {
    switch kind {
    case .gguf: vocabulary
    case .tokenizerJSON:
      try GGUFVocabulary(tokenizerJSON: bytes, configuration: configuration, sentencePiece: sentencePiece)
    case .sentencePiece: try GGUFVocabulary(sentencePiece: bytes, configuration: configuration)
    case .llama2c: try GGUFVocabulary(llama2c: bytes)
    }
  }
}
