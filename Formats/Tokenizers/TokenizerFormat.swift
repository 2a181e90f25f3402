import SafeIO

/// The kinds of tokenizer files.
public enum TokenizerKind: String, Sendable, CaseIterable {
  /// Hugging Face `tokenizer.json`.
  case tokenizerJSON = "tokenizer.json"
  /// The vocabulary file of llama2.c (`tokenizer.bin`).
  case llama2c = "llama2c"
  /// A vocabulary out of a GGUF file, as ``GGUFVocabulary/canonicalJSON``.
  case gguf = "gguf"
  /// SentencePiece's `tokenizer.model`.
  case sentencePiece = "sentencepiece"
}

/// Reads tokenizers of every kind.
public enum TokenizerFormat {
  /// Reads a tokenizer.
  ///
  /// - Parameters:
  ///   - kind: the format of `bytes`.
  ///   - bytes: the whole file.
  ///   - configuration: `tokenizer_config.json` or `config.json`, where beginning and end of a sequence are
  ///     named; else they are found by the template and by customary names.
  ///   - file: the name for errors.
  /// - Throws: ``TokenizerError`` for anything that is damaged or of a kind that is not read; nothing is ignored that
  ///   would change ids.
  public static func load(
    kind: TokenizerKind, bytes: [UInt8], configuration: JSONValue? = nil, file: String? = nil
  ) throws(TokenizerError) -> any Tokenizer {
    switch kind {
    case .tokenizerJSON:
      return try TokenizerJSONReader(file: file).read(bytes, configuration: configuration)
    case .llama2c:
      return try Llama2CTokenizer(parsing: bytes, file: file)
    case .gguf:
      return try load(vocabulary: GGUFVocabulary(parsingJSON: bytes, file: file), file: file)
    case .sentencePiece:
      return try SentencePieceModel(parsing: bytes, file: file).tokenizer(
        configuration: configuration, file: file)
    }
  }

  /// The kind of a file by its content; nil when it is none of them.
  public static func recognize(_ bytes: [UInt8]) -> TokenizerKind? {
    guard let first = bytes.first(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }) else { return nil }
    if first == UInt8(ascii: "{") { return .tokenizerJSON }
    if (try? SentencePieceModel(parsing: bytes, file: nil)) != nil { return .sentencePiece }
    return (try? Llama2CTokenizer(parsing: bytes, file: nil)) == nil ? nil : .llama2c
  }
}
