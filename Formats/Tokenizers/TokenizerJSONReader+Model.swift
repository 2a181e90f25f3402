import SafeIO

extension TokenizerJSONReader {
  /// Reads `model`.
  func readModel(
    _ root: JSONNode, isByteLevel: Bool
  ) throws(TokenizerError) -> (model: TokenModel, vocabulary: ModelVocabulary) {
    let model = try root.required("model")
    let type = try model.member("type")?.string() ?? (model.member("merges") == nil ? "WordPiece" : "BPE")
    if isByteLevel, type != "BPE" {
      throw model.unsupported("ByteLevel is implemented only with models of type BPE", found: type)
    }
    switch type {
    case "BPE":
      let vocabulary = try readVocabulary(model)
      return (.pairs(try readPairs(model, vocabulary, isByteLevel: isByteLevel)), vocabulary)
    case "Unigram":
      let (vocabulary, scores) = try readScoredVocabulary(model)
      return (.unigram(try readUnigram(model, vocabulary, scores)), vocabulary)
    case "WordPiece":
      let vocabulary = try readVocabulary(model)
      return (.wordPiece(try readWordPiece(model, vocabulary)), vocabulary)
    case "WordLevel":
      let vocabulary = try readVocabulary(model)
      let words = vocabulary.names.enumerated().compactMap { id, name in name.map { ($0, Int32(id)) } }
      var unknown: Int32?
      if let node = model.member("unk_token") { unknown = vocabulary.ids[ExactString(try node.string())] }
      return (.words(Dictionary(words, uniquingKeysWith: { $1 }), unknown: unknown), vocabulary)
    default:
      throw try model.required("type").unsupported("implemented are BPE, Unigram, WordPiece and WordLevel")
    }
  }

  private func readWordPiece(
    _ model: JSONNode, _ vocabulary: ModelVocabulary
  ) throws(TokenizerError) -> WordPieceModel {
    var trie = TokenTrie(byteCount: vocabulary.names.reduce(0) { $0 + ($1?.count ?? 0) })
    for (id, name) in vocabulary.names.enumerated() { if let name { trie.insert(name, Int32(id)) } }
    let prefix = try model.member("continuing_subword_prefix").map(shortText) ?? Array("##".utf8)
    let unknown = try model.member("unk_token")?.string() ?? "[UNK]"
    guard let unknownID = vocabulary.ids[ExactString(unknown)] else {
      throw .invalid(
        file: file, path: "model.unk_token", expected: "a token of the vocabulary", found: "\"\(unknown)\"")
    }
    let limit = model.member("max_input_chars_per_word")
    guard let maximum = limit == nil ? 100 : limit?.value.intValue, (0...100_000).contains(maximum) else {
      throw try model.required("max_input_chars_per_word").invalid("a number up to 100000")
    }
    let state = trie.state(after: prefix)
    return WordPieceModel(
      trie: trie, continuation: state == 0 && !prefix.isEmpty ? nil : state, unknown: unknownID,
      maximumScalarCount: maximum)
  }

  private func readUnigram(
    _ model: JSONNode, _ vocabulary: ModelVocabulary, _ scores: [Double]
  ) throws(TokenizerError) -> UnigramModel {
    var unknown: Int32?
    if let node = model.member("unk_id") {
      let id = try node.tokenID()
      guard Int(id) < scores.count else { throw node.invalid("an id of the vocabulary") }
      unknown = id
    }
    var trie = TokenTrie(byteCount: vocabulary.names.reduce(0) { $0 + ($1?.count ?? 0) })
    for (id, name) in vocabulary.names.enumerated() {
      guard let name else { continue }
      guard name.count <= UnigramModel.maximumTokenByteCount else {
        throw .limit(
          file: file, path: "model.vocab[\(id)]", limit: UnigramModel.maximumTokenByteCount, found: name.count
        )
      }
      trie.insert(name, Int32(id))
    }
    var unigram = UnigramModel(
      trie: trie, scores: scores, unknownScore: (scores.min() ?? 0) - UnigramModel.unknownPenalty,
      unknown: unknown)
    if try model.flag("byte_fallback", default: false) { unigram.bytes = Self.byteTokens(vocabulary) }
    return unigram
  }

  /// The tokens of the 256 bytes, -1 for those that there are not.
  static func byteTokens(_ vocabulary: ModelVocabulary) -> [Int32] {
    (0..<256).map { vocabulary.ids[ExactString(Metaspace.token(of: UInt8($0)))] ?? -1 }
  }

  /// Reads what a BPE model says about symbols and merges.
  private func readPairs(
    _ model: JSONNode, _ vocabulary: ModelVocabulary, isByteLevel: Bool
  ) throws(TokenizerError) -> PairModel {
    try refuseVariants(model)
    let unknown = try readUnknown(model, vocabulary)
    let hasByteFallback = try model.flag("byte_fallback", default: false)
    let symbols: PairModel.Symbols
    if isByteLevel {
      let bytes = (0..<256).map { vocabulary.ids[ExactString(ByteAlphabet.token(of: UInt8($0)))] ?? -1 }
      if hasByteFallback, bytes.contains(-1) {
        throw try model.required("byte_fallback").unsupported(
          "with the byte level, fallback is implemented only for vocabularies that have all 256 bytes")
      }
      symbols = .bytes(bytes)
    } else {
      symbols = Self.scalarSymbols(vocabulary, hasByteFallback: hasByteFallback)
    }
    var wholeWords: [[UInt8]: Int32]?
    if try model.flag("ignore_merges", default: false) {
      var words: [[UInt8]: Int32] = [:]
      for (name, id) in vocabulary.ids {
        if let word = isByteLevel ? ByteAlphabet.bytes(of: name.text) : Array(name.text.utf8) {
          words[word] = id
        }
      }
      wholeWords = words
    }
    return PairModel(
      symbols: symbols, merges: try readMerges(model, vocabulary), unknown: unknown, wholeWords: wholeWords)
  }

  private static func scalarSymbols(_ vocabulary: ModelVocabulary, hasByteFallback: Bool) -> PairModel.Symbols
  {
    var table = KeyTable(capacity: 512)
    for (name, id) in vocabulary.ids {
      let scalars = name.text.unicodeScalars
      if let first = scalars.first, scalars.index(after: scalars.startIndex) == scalars.endIndex {
        table.set(UInt64(first.value), UInt64(id))
      }
    }
    return .scalars(table, bytes: hasByteFallback ? byteTokens(vocabulary) : nil)
  }

  private func refuseVariants(_ model: JSONNode) throws(TokenizerError) {
    if let dropout = model.member("dropout"), dropout.value.doubleValue != 0 {
      throw dropout.unsupported("dropout makes ids random; set it to null")
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let affix = model.member(key), try !affix.string().isEmpty {
        throw affix.unsupported("only null is implemented")
      }
    }
  }

  private func readUnknown(
    _ model: JSONNode, _ vocabulary: ModelVocabulary
  ) throws(TokenizerError) -> PairModel.Unknown? {
    guard let node = model.member("unk_token") else { return nil }
    guard let id = vocabulary.ids[ExactString(try node.string())] else {
      throw node.invalid("a token of the vocabulary")
    }
    return PairModel.Unknown(token: id, isFused: try model.flag("fuse_unk", default: false))
  }

  /// Reads `merges`, as pairs or as texts with one space between the two tokens.
  private func readMerges(
    _ model: JSONNode, _ vocabulary: ModelVocabulary
  ) throws(TokenizerError) -> MergeTable {
    let node = try model.required("merges")
    guard let values = node.value.arrayValue else { throw node.invalid("an array") }
    var merges = MergeTable(capacity: values.count)
    for (rank, value) in values.enumerated() {
      guard let (left, right) = Self.pair(value) else {
        throw JSONNode(value: value, path: "model.merges[\(rank)]", file: file).invalid(
          "two tokens that are not empty")
      }
      guard let leftID = vocabulary.ids[ExactString(left)], let rightID = vocabulary.ids[ExactString(right)],
        let result = vocabulary.ids[ExactString(left + right)]
      else {
        throw .invalid(
          file: file, path: "model.merges[\(rank)]",
          expected: "two tokens of the vocabulary that make a third one",
          found: "\"\(left)\" and \"\(right)\"")
      }
      merges.set(leftID, rightID, MergeTable.Merge(rank: Int32(rank), result: result))
    }
    return merges
  }

  /// The two texts of a merge.
  static func pair(_ value: JSONValue) -> (String, String)? {
    switch value {
    case .string(let text):
      let parts = text.utf8.split(separator: 0x20, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return nil }
      return (String(decoding: parts[0], as: UTF8.self), String(decoding: parts[1], as: UTF8.self))
    case .array(let values):
      guard values.count == 2, let left = values[0].stringValue, let right = values[1].stringValue,
        !left.isEmpty, !right.isEmpty
      else { return nil }
      return (left, right)
    default: return nil
    }
  }
}
