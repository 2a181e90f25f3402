import SafeIO

/// Reads `tokenizer.json`.
///
/// Every part is either implemented or refused by name: a part that is passed over would give other ids than
/// the model was trained with.
struct TokenizerJSONReader {
  let file: String?

  /// Reads a document.
  func read(_ bytes: [UInt8], configuration: JSONValue?) throws(TokenizerError) -> BytePairTokenizer {
    let root: JSONNode
    do {
      root = JSONNode(value: try JSONValue.parse(bytes, file: file), path: "", file: file)
    } catch {
      throw .unreadable(error)
    }
    guard root.value.objectValue != nil else { throw root.invalid("an object") }
    if let version = root.member("version"), version.value != .string("1.0") {
      throw version.unsupported("the version must be \"1.0\"")
    }
    let splitting = try readSplitting(root)
    let decoding = try readDecoding(root)
    let template = try readTemplate(root)
    let vocabulary = try readVocabulary(root)
    let addedTokens = try readAddedTokens(root, vocabulary)
    var ids = vocabulary.ids
    for token in addedTokens { ids[ExactString(token.content)] = token.id }
    try checkDensity(ids)
    let special = Set(addedTokens.lazy.filter(\.isSpecial).map(\.id))
    let used = Set(ids.values)
    for id in template.prefix + template.suffix where !used.contains(id) {
      throw .invalid(file: file, path: "post_processor", expected: "ids of the vocabulary", found: "\(id)")
    }
    var tokenizer = BytePairTokenizer(
      model: try readModel(root, vocabulary, splitting), splitting: splitting, decoding: decoding,
      addedTokens: (
        first: AddedTokenMatcher(addedTokens.filter { !$0.isNormalized }),
        second: AddedTokenMatcher(addedTokens.filter(\.isNormalized))
      ),
      prefix: template.prefix, suffix: template.suffix,
      vocabulary: Vocabulary(ids, special: special) { Self.textBytes($0, decoding) })
    let ends = SequenceEnds(tokenizer, configuration: configuration)
    tokenizer.beginOfSequence = ends.begin
    tokenizer.endOfSequence = ends.end
    return tokenizer
  }

  /// What a token decodes to.
  private static func textBytes(_ name: String, _ decoding: BytePairTokenizer.Decoding) -> [UInt8] {
    switch decoding {
    case .byteLevel: return ByteAlphabet.bytes(of: name) ?? Array(name.utf8)
    case .metaspace(let hasByteFallback, _):
      if hasByteFallback, let byte = Metaspace.byte(of: name.utf8) { return [byte] }
      var result = String.UnicodeScalarView()
      for scalar in name.unicodeScalars { result.append(scalar == "\u{2581}" ? " " : scalar) }
      return Array(String(result).utf8)
    }
  }
}
