import SafeIO

extension TokenizerJSONReader {
  /// Reads what `model` says about symbols and merges.
  func readModel(
    _ root: JSONNode, _ vocabulary: ModelVocabulary, _ splitting: BytePairTokenizer.WordSplitting
  ) throws(TokenizerError) -> PairModel {
    let model = try root.required("model")
    try refuseVariants(model)
    let unknown = try readUnknown(model, vocabulary)
    let hasByteFallback = try model.flag("byte_fallback", default: false)
    var isByteLevel = false
    if case .byteLevel = splitting { isByteLevel = true }
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
    guard hasByteFallback else { return .scalars(table, bytes: nil) }
    return .scalars(
      table, bytes: (0..<256).map { vocabulary.ids[ExactString(Metaspace.token(of: UInt8($0)))] ?? -1 })
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

  private static func pair(_ value: JSONValue) -> (String, String)? {
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
