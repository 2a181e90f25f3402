import SafeIO

/// Reads `tokenizer.json`.
///
/// Every part is either implemented or refused by name: a part that is passed over would give other ids than
/// the model was trained with.
struct TokenizerJSONReader {
  /// Most steps of a normalizer, a pre-tokenizer, a decoder.
  static let maximumStepCount = 64

  let file: String?

  /// Reads a document.
  func read(_ bytes: [UInt8], configuration: JSONValue?) throws(TokenizerError) -> PipelineTokenizer {
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
    let normalization = try readNormalization(root)
    let splitting = try readSplitting(root)
    let decoding = try readDecoding(root)
    let template = try readTemplate(root)
    let model = try readModel(root, isByteLevel: splitting.isByteLevel)
    let addedTokens = try readAddedTokens(root, model.vocabulary)
    var ids = model.vocabulary.ids
    for token in addedTokens { ids[ExactString(token.content)] = token.id }
    try checkDensity(ids)
    let special = Set(addedTokens.lazy.filter(\.isSpecial).map(\.id))
    let used = Set(ids.values)
    for id in template.prefix + template.suffix where !used.contains(id) {
      throw .invalid(file: file, path: "post_processor", expected: "ids of the vocabulary", found: "\(id)")
    }
    var names = model.vocabulary.names
    for token in addedTokens {
      if Int(token.id) >= names.count {
        names += Array(repeating: nil, count: Int(token.id) + 1 - names.count)
      }
      names[Int(token.id)] = Array(token.content.utf8)
    }
    var tokenizer = PipelineTokenizer(
      normalization: normalization, splitting: splitting.steps, model: model.model, decoding: decoding,
      addedTokens: (
        first: AddedTokenMatcher(addedTokens.filter { !$0.isNormalized }),
        second: AddedTokenMatcher(try normalized(addedTokens.filter(\.isNormalized), normalization))
      ),
      prefix: template.prefix, suffix: template.suffix,
      vocabulary: Vocabulary(names, special: special) { _, name in
        decoding.bytes(name: name, isAtStart: false)
      })
    let ends = SequenceEnds(tokenizer, configuration: configuration)
    tokenizer.beginOfSequence = ends.begin
    tokenizer.endOfSequence = ends.end
    return tokenizer
  }

  /// Tokens as they look in normalized text; of those that become the same the first counts.
  private func normalized(
    _ tokens: [AddedToken], _ steps: [NormalizationStep]
  ) throws(TokenizerError) -> [AddedToken] {
    if steps.isEmpty { return tokens }
    var contents: Set<ExactString> = []
    var result: [AddedToken] = []
    for var token in tokens {
      let content = try NormalizationStep.apply(steps, to: Array(token.content.utf8))
      token.content = String(decoding: content, as: UTF8.self)
      if !content.isEmpty, contents.insert(ExactString(token.content)).inserted { result.append(token) }
    }
    return result
  }
}
