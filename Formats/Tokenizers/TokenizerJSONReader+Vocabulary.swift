import SafeIO

extension TokenizerJSONReader {
  /// The model's vocabulary.
  struct ModelVocabulary {
    var ids: [ExactString: Int32]
  }

  /// Most added tokens of a tokenizer.
  private static let maximumAddedTokenCount = 100_000

  /// Reads `model.vocab`: every id once.
  func readVocabulary(_ root: JSONNode) throws(TokenizerError) -> ModelVocabulary {
    let model = try root.required("model")
    if let type = model.member("type"), type.value != .string("BPE") {
      throw type.unsupported("only models of type BPE are implemented")
    }
    let node = try model.required("vocab")
    let members = try node.members()
    guard !members.isEmpty else { throw node.invalid("at least one token") }
    var ids: [ExactString: Int32] = [:]
    ids.reserveCapacity(members.count)
    // Room is made for every id: a small file must not be able to ask for much.
    let limit = Self.idLimit(members.count)
    var isUsed = Array(repeating: false, count: limit)
    for (name, value) in members {
      guard let id = value.intValue, id >= 0, id < limit, !isUsed[id] else {
        let entry = JSONNode(value: value, path: "model.vocab[\"\(name)\"]", file: file)
        throw entry.invalid("an id from 0 to \(limit - 1) that no other token has")
      }
      isUsed[id] = true
      ids[ExactString(name)] = Int32(id)
    }
    return ModelVocabulary(ids: ids)
  }

  private static func idLimit(_ count: Int) -> Int {
    min(max(65_536, count.multipliedReportingOverflow(by: 4).partialValue), Int(Int32.max) - 1)
  }

  /// Reads `added_tokens`.
  func readAddedTokens(
    _ root: JSONNode, _ vocabulary: ModelVocabulary
  ) throws(TokenizerError) -> [AddedToken] {
    guard let list = root.member("added_tokens") else { return [] }
    guard let values = list.value.arrayValue else { throw list.invalid("an array") }
    guard values.count <= Self.maximumAddedTokenCount else {
      throw .limit(file: file, path: list.path, limit: Self.maximumAddedTokenCount, found: values.count)
    }
    let hasNormalizer = root.member("normalizer") != nil
    var tokens: [AddedToken] = []
    var contents: Set<ExactString> = []
    var names = Dictionary(vocabulary.ids.lazy.map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    for node in try list.elements() {
      let token = try readAddedToken(node)
      guard contents.insert(ExactString(token.content)).inserted else {
        throw try node.required("content").invalid("a token that was not added before")
      }
      let content = ExactString(token.content)
      if let id = vocabulary.ids[content], id != token.id {
        throw try node.required("id").invalid("the id \(id) that the vocabulary gives the token")
      }
      if let other = names.updateValue(content, forKey: token.id), other != content {
        throw try node.required("id").invalid("an id of its own, not that of \"\(other.text)\"")
      }
      if token.isNormalized, hasNormalizer {
        throw node.unsupported(
          "added tokens that are normalized are implemented only without a normalizer",
          found: "normalized: true")
      }
      tokens.append(token)
    }
    return tokens
  }

  private func readAddedToken(_ node: JSONNode) throws(TokenizerError) -> AddedToken {
    _ = try node.members()
    let content = try node.required("content")
    let token = AddedToken(
      id: try node.required("id").tokenID(), content: try content.string(),
      isSingleWord: try node.flag("single_word", default: false),
      stripsLeft: try node.flag("lstrip", default: false),
      stripsRight: try node.flag("rstrip", default: false),
      isNormalized: try node.flag("normalized", default: true),
      isSpecial: try node.flag("special", default: false))
    guard !token.content.isEmpty else { throw content.invalid("a text that is not empty") }
    return token
  }

  /// Checks that there are not far fewer tokens than ids.
  func checkDensity(_ ids: [ExactString: Int32]) throws(TokenizerError) {
    let limit = Self.idLimit(ids.count)
    for (name, id) in ids where id >= limit {
      throw .invalid(
        file: file, path: "added_tokens", expected: "ids below \(limit)", found: "\(id) of \"\(name.text)\"")
    }
  }
}
