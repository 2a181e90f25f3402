extension TokenizerFormat {
  /// Makes a tokenizer of a vocabulary.
  ///
  /// - Parameter file: the name for errors.
  /// - Throws: ``TokenizerError`` for anything that is damaged or of a kind that is not read.
  public static func load(
    vocabulary: GGUFVocabulary, file: String? = nil
  ) throws(TokenizerError) -> any Tokenizer {
    try GGUFTokenizerBuilder(vocabulary: vocabulary, file: file).build()
  }
}
