import SafeIO

extension SentencePieceModel {
  /// A tokenizer that gives the ids that SentencePiece gives.
  ///
  /// - Parameter configuration: `tokenizer_config.json`, whose `add_bos_token` and `add_eos_token` tell what
  ///   stands around a text; else a BPE model's beginning, or the end where there is no beginning.
  /// - Throws: ``TokenizerError`` for models of words or characters.
  func tokenizer(configuration: JSONValue?, file: String?) throws(TokenizerError) -> PipelineTokenizer {
    let model: TokenModel
    switch kind {
    case .bpe: model = .pairs(try pairModel(file: file))
    case .unigram: model = .unigram(try unigramModel(file: file))
    case .word, .character:
      throw .unsupported(
        file: file, path: "trainer_spec.model_type", found: "\(kind)", hint: "implemented are unigram and bpe"
      )
    }
    let added = types.indices.compactMap { id -> AddedToken? in
      guard let text = String(validating: pieces[id], as: UTF8.self), !text.isEmpty else { return nil }
      switch types[id] {
      case .control, .unknown: return AddedToken(id: Int32(id), content: text, isSpecial: true)
      case .userDefined where kind == .bpe:
        return AddedToken(id: Int32(id), content: text, isNormalized: true)
      default: return nil
      }
    }
    let special = Set(types.indices.filter { [.control, .unknown].contains(types[$0]) }.map(Int32.init))
    let decoding = TokenDecoding(steps: [.metaspace(dropsFirst: false)], dropsFirstSpace: addsDummyPrefix)
    var tokenizer = PipelineTokenizer(
      normalization: [.sentencePiece(try normalizer(file: file))], model: model, decoding: decoding,
      addedTokens: (
        AddedTokenMatcher(Self.unique(added.filter { !$0.isNormalized })),
        AddedTokenMatcher(Self.unique(added.filter(\.isNormalized)))
      ),
      vocabulary: Vocabulary(pieces, special: special) { id, name in
        if types[Int(id)] == .byte, let byte = Metaspace.byte(of: name) { return [byte] }
        return special.contains(id) ? name : decoding.bytes(name: name, isAtStart: false)
      })
    let begin = self.begin >= 0 ? self.begin : nil
    let end = self.end >= 0 ? self.end : nil
    tokenizer.beginOfSequence = begin
    tokenizer.endOfSequence = end
    if configuration?["add_bos_token"]?.boolValue ?? (kind == .bpe), let begin { tokenizer.prefix = [begin] }
    if configuration?["add_eos_token"]?.boolValue ?? (kind == .unigram && begin == nil), let end {
      tokenizer.suffix = [end]
    }
    return tokenizer
  }

  private static func unique(_ tokens: [AddedToken]) -> [AddedToken] {
    var seen: Set<ExactString> = []
    return tokens.filter { seen.insert(ExactString($0.content)).inserted }
  }

  private func normalizer(file: String?) throws(TokenizerError) -> SentencePieceNormalizer {
    var normalizer = SentencePieceNormalizer(
      addsDummyPrefix: addsDummyPrefix, removesExtraSpaces: removesExtraSpaces, escapesSpaces: escapesSpaces,
      treatsSpaceAsSuffix: treatsSpaceAsSuffix)
    if !charsmap.isEmpty {
      normalizer.charsmap = try Charsmap(charsmap, path: "normalizer_spec.precompiled_charsmap", file: file)
    }
    let protected = types.indices.filter { types[$0] == .userDefined }
    if !protected.isEmpty {
      var trie = TokenTrie(byteCount: protected.reduce(0) { $0 + pieces[$1].count })
      for id in protected { trie.insert(pieces[id], Int32(id)) }
      normalizer.protected = trie
    }
    return normalizer
  }

  /// The tokens of the 256 bytes, -1 for those that there are not; nil without byte fallback.
  private var byteTokens: [Int32]? {
    guard hasByteFallback else { return nil }
    var result = Array(repeating: Int32(-1), count: 256)
    for id in types.indices where types[id] == .byte {
      if let byte = Metaspace.byte(of: pieces[id]) { result[Int(byte)] = Int32(id) }
    }
    return result
  }

  private func pairModel(file: String?) throws(TokenizerError) -> PairModel {
    var pairs = ScoredPairs(pieces: pieces, isMergeable: types.map { $0 == .normal || $0 == .unused })
    return try pairs.model(
      scores: scores, bytes: byteTokens, unknown: unknown >= 0 ? unknown : nil, path: "pieces", file: file)
  }

  private func unigramModel(file: String?) throws(TokenizerError) -> UnigramModel {
    var trie = TokenTrie(byteCount: pieces.reduce(0) { $0 + $1.count })
    let normal = types.indices.filter { types[$0] == .normal }
    let lowest = normal.map { scores[$0] }.min() ?? 0
    let highest = normal.map { scores[$0] }.max() ?? 0
    var values = scores.map { Double($0) }
    for (id, piece) in pieces.enumerated() {
      guard piece.count <= UnigramModel.maximumTokenByteCount else {
        throw .limit(
          file: file, path: "pieces[\(id)]", limit: UnigramModel.maximumTokenByteCount, found: piece.count)
      }
      guard values[id].magnitude < 1e30 else {
        throw .invalid(
          file: file, path: "pieces[\(id)].score", expected: "a score that is not immense",
          found: "\(scores[id])")
      }
      if types[id] == .userDefined { values[id] = Double(Float(piece.count) * highest) - 0.1 }
      if types[id] == .normal || types[id] == .userDefined { trie.insert(piece, Int32(id)) }
    }
    return UnigramModel(
      trie: trie, scores: values, unknownScore: Double(lowest - Float(UnigramModel.unknownPenalty)),
      unknown: unknown >= 0 ? unknown : nil, isSinglePrecision: true, bytes: byteTokens)
  }
}
