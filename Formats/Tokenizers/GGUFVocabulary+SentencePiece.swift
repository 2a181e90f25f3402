import SafeIO

/// From `tokenizer.model`.
extension GGUFVocabulary {
  /// Says in GGUF's terms what a SentencePiece model says: `llama` for BPE, `t5` for unigram.
  ///
  /// - Parameters:
  ///   - sentencePiece: the file's bytes.
  ///   - configuration: `tokenizer_config.json`: what stands around a text, and the chat template.
  ///   - file: the name for errors.
  /// - Throws: ``TokenizerError`` for what is damaged, or a kind of model that GGUF does not have.
  public init(
    sentencePiece: [UInt8], configuration: JSONValue? = nil, file: String? = nil
  ) throws(TokenizerError) {
    let model = try SentencePieceModel(parsing: sentencePiece, file: file)
    let tokenizer = try model.tokenizer(configuration: configuration, file: file)
    self.init(
      model: model.kind == .bpe ? "llama" : "t5", pre: "default", tokens: model.pieces, scores: model.scores,
      types: model.types.map(\.rawValue))
    for (name, id) in [
      ("bos_token_id", model.begin), ("eos_token_id", model.end), ("unknown_token_id", model.unknown),
      ("padding_token_id", model.padding),
    ] where id >= 0 { ids[name] = id }
    flags["add_bos_token"] = !tokenizer.prefix.isEmpty
    flags["add_eos_token"] = !tokenizer.suffix.isEmpty
    flags["add_space_prefix"] = model.addsDummyPrefix
    if model.kind == .unigram {
      flags["remove_extra_whitespaces"] = model.removesExtraSpaces
      if !model.charsmap.isEmpty { charsmap = model.charsmap }
    }
    takeTemplates(configuration)
  }
}
