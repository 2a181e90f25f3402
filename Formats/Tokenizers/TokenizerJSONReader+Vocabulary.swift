import SafeIO

extension TokenizerJSONReader {
  /// The model's vocabulary.
  struct ModelVocabulary {
    /// Ids by name.
    var ids: [ExactString: Int32]
    /// Names by id.
    var names: [[UInt8]?]
  }

  /// Most added tokens of a tokenizer.
  private static let maximumAddedTokenCount = 100_000

  /// Reads `model.vocab` of names and ids: every id once.
  func readVocabulary(_ model: JSONNode) throws(TokenizerError) -> ModelVocabulary {
    let node = try model.required("vocab")
    let members = try node.members()
    guard !members.isEmpty else { throw node.invalid("at least one token") }
    var ids: [ExactString: Int32] = [:]
    ids.reserveCapacity(members.count)
    // Room is made for every id: a small file must not be able to ask for much.
    let limit = Self.idLimit(members.count)
    var names: [[UInt8]?] = []
    for (name, value) in members {
      guard let id = value.intValue, id >= 0, id < limit, id >= names.count || names[id] == nil else {
        let entry = JSONNode(value: value, path: "model.vocab[\"\(name)\"]", file: file)
        throw entry.invalid("an id from 0 to \(limit - 1) that no other token has")
      }
      if id >= names.count { names += Array(repeating: nil, count: id + 1 - names.count) }
      names[id] = Array(name.utf8)
      ids[ExactString(name)] = Int32(id)
    }
    return ModelVocabulary(ids: ids, names: names)
  }

  /// Reads `model.vocab` of pieces and scores in the order of their ids.
  func readScoredVocabulary(
    _ model: JSONNode
  ) throws(TokenizerError) -> (vocabulary: ModelVocabulary, scores: [Double]) {
    let node = try model.required("vocab")
    var vocabulary = ModelVocabulary(ids: [:], names: [])
    var scores: [Double] = []
    for entry in try node.elements() {
      guard let pair = entry.value.arrayValue, pair.count == 2, let name = pair[0].stringValue,
        let score = pair[1].doubleValue
      else { throw entry.invalid("a piece and its score") }
      guard score.isFinite, abs(score) < 1e30 else { throw entry.invalid("a score that is not immense") }
      // Of equal pieces the last counts.
      vocabulary.ids[ExactString(name)] = Int32(scores.count)
      vocabulary.names.append(Array(name.utf8))
      scores.append(score)
    }
    guard !scores.isEmpty else { throw node.invalid("at least one piece") }
    return (vocabulary, scores)
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
    var tokens: [AddedToken] = []
    var contents: Set<ExactString> = []
    var added: [Int32: ExactString] = [:]
    for node in try list.elements() {
      let token = try readAddedToken(node)
      guard contents.insert(ExactString(token.content)).inserted else {
        throw try node.required("content").invalid("a token that was not added before")
      }
      let content = ExactString(token.content)
      if let id = vocabulary.ids[content], id != token.id {
        throw try node.required("id").invalid("the id \(id) that the vocabulary gives the token")
      }
      var other = added.updateValue(content, forKey: token.id)
      if other == nil, Int(token.id) < vocabulary.names.count, let name = vocabulary.names[Int(token.id)] {
        other = ExactString(String(decoding: name, as: UTF8.self))
      }
      if let other, other != content {
        throw try node.required("id").invalid("an id of its own, not that of \"\(other.text)\"")
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
