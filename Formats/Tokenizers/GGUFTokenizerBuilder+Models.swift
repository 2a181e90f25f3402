import SafeIO

extension GGUFTokenizerBuilder {
  private var bytes: [Int32] {
    let ids = Dictionary(
      vocabulary.tokens.enumerated().filter { $0.element.count == 6 }.map { ($0.element, Int32($0.offset)) },
      uniquingKeysWith: { $1 })
    return (0..<256).map { ids[Array(Metaspace.token(of: UInt8($0)).utf8)] ?? -1 }
  }

  private func metaspaceDecoding(dropsFirstSpace: Bool) -> TokenDecoding {
    TokenDecoding(steps: [.metaspace(dropsFirst: false)], dropsFirstSpace: dropsFirstSpace)
  }

  /// `llama`: SentencePiece BPE.
  func sentencePiece() throws(TokenizerError) -> PipelineTokenizer {
    guard let scores = vocabulary.scores else {
      throw .invalid(file: file, path: "tokenizer.ggml.scores", expected: "scores", found: "nothing")
    }
    let hasPrefix = vocabulary.flags["add_space_prefix"] ?? true
    var pairs = ScoredPairs(
      pieces: vocabulary.tokens, isMergeable: Array(repeating: true, count: vocabulary.tokens.count))
    let model = try pairs.model(
      scores: scores, bytes: bytes, unknown: id("unknown_token_id", default: 0),
      path: "tokenizer.ggml.tokens",
      file: file)
    return tokenizer(
      splitting: [.metaspace(hasPrefix ? .unconditional : .never, isSplit: false)], model: .pairs(model),
      decoding: metaspaceDecoding(dropsFirstSpace: hasPrefix),
      ends: Ends(
        begin: id("bos_token_id", default: 1), end: id("eos_token_id", default: 2), addsBegin: true))
  }

  /// `t5`: unigram.
  func unigram() throws(TokenizerError) -> PipelineTokenizer {
    guard let scores = vocabulary.scores else {
      throw .invalid(file: file, path: "tokenizer.ggml.scores", expected: "scores", found: "nothing")
    }
    let removesExtraSpaces = vocabulary.flags["remove_extra_whitespaces"] ?? false
    let hasPrefix = vocabulary.flags["add_space_prefix"] ?? false
    var charsmap: Charsmap?
    if let bytes = vocabulary.charsmap, !bytes.isEmpty {
      charsmap = try Charsmap(bytes, path: "tokenizer.ggml.precompiled_charsmap", file: file)
    }
    let model = try unigramModel(scores.map { Double($0) })
    let normalizer = SentencePieceNormalizer(
      charsmap: charsmap, addsDummyPrefix: hasPrefix || removesExtraSpaces,
      removesExtraSpaces: removesExtraSpaces,
      escapesSpaces: vocabulary.flags["escape_whitespaces"] ?? true,
      treatsSpaceAsSuffix: vocabulary.flags["treat_whitespace_as_suffix"] ?? false, prefixesWordsOnly: true)
    return tokenizer(
      normalization: [.sentencePiece(normalizer)], splitting: [], model: .unigram(model),
      decoding: metaspaceDecoding(dropsFirstSpace: hasPrefix),
      ends: Ends(begin: id("bos_token_id"), end: id("eos_token_id", default: 1), addsEnd: true))
  }

  private func unigramModel(_ scores: [Double]) throws(TokenizerError) -> UnigramModel {
    var scores = scores
    var trie = TokenTrie(byteCount: vocabulary.tokens.reduce(0) { $0 + $1.count })
    var lowest = Double.infinity
    for (id, token) in vocabulary.tokens.enumerated() {
      let type = vocabulary.type(id)
      guard token.count <= UnigramModel.maximumTokenByteCount else {
        throw .limit(
          file: file, path: "tokenizer.ggml.tokens[\(id)]", limit: UnigramModel.maximumTokenByteCount,
          found: token.count)
      }
      if type == .normal { lowest = min(lowest, scores[id]) }
      if type == .userDefined { scores[id] = 0 }
      if type == .normal || type == .userDefined || type == .unused { trie.insert(token, Int32(id)) }
    }
    guard scores.allSatisfy({ abs($0) < 1e30 }) else {
      throw .invalid(
        file: file, path: "tokenizer.ggml.scores", expected: "scores that are not immense", found: "others")
    }
    return UnigramModel(
      trie: trie, scores: scores, unknownScore: (lowest.isFinite ? lowest : 0) - UnigramModel.unknownPenalty,
      unknown: id("unknown_token_id", default: 2))
  }

  /// `bert`: WordPiece, whose vocabulary has U+2581 before what begins a word.
  func wordPiece() throws(TokenizerError) -> PipelineTokenizer {
    var trie = TokenTrie(byteCount: vocabulary.tokens.reduce(0) { $0 + $1.count })
    for (id, token) in vocabulary.tokens.enumerated() { trie.insert(token, Int32(id)) }
    let model = WordPieceModel(
      trie: trie, continuation: TokenTrie.root, mark: Metaspace.mark,
      unknown: id("unknown_token_id", default: 100), maximumScalarCount: .max)
    let lowercases = vocabulary.flags["normalizer.lowercase"] ?? true
    let normalizer = BERTNormalizer(
      stripsAccents: vocabulary.flags["normalizer.strip_accents"] ?? lowercases, lowercases: lowercases)
    let begin = id("bos_token_id", default: vocabulary.ids["cls_token_id"] ?? 101)
    let separator = id("seperator_token_id", default: vocabulary.ids["separator_token_id"] ?? 102)
    var tokenizer = tokenizer(
      normalization: [.bert(normalizer)],
      splitting: [
        .split(.spaces, .removed, isInverted: false), .split(.signs, .isolated, isInverted: false),
      ],
      model: .wordPiece(model), decoding: metaspaceDecoding(dropsFirstSpace: true),
      ends: Ends(begin: begin, end: id("eos_token_id") ?? separator))
    // Always, whatever the flags say.
    tokenizer.prefix = begin.map { [$0] } ?? []
    tokenizer.suffix = separator.map { [$0] } ?? []
    return tokenizer
  }

  /// `gpt2`: byte-level BPE with the split patterns of `tokenizer.ggml.pre`.
  func byteLevel(_ given: GGUFPreTokenizer? = nil) throws(TokenizerError) -> PipelineTokenizer {
    let name = vocabulary.pre ?? "default"
    guard let pre = given ?? GGUFPreTokenizer.named(name) else {
      throw .unsupported(
        file: file, path: "tokenizer.ggml.pre", found: name,
        hint: "implemented are \(GGUFPreTokenizer.all.flatMap(\.names).sorted().joined(separator: ", "))")
    }
    let expressions = try pre.steps(file: file)
    let isScalar = pre.isScalar
    let model = try pairModel(pre)
    let steps: [SplittingStep] =
      (isScalar ? [.metaspace(.never, isSplit: false)] : [])
      + expressions.map { .split($0, .isolated, isInverted: false) }
    return tokenizer(
      splitting: steps, model: .pairs(model),
      decoding: TokenDecoding(steps: [isScalar ? .metaspace(dropsFirst: false) : .byteLevel]),
      ends: Ends(
        begin: id("bos_token_id", default: isScalar ? nil : 11),
        end: id("eos_token_id", default: isScalar ? nil : 11), addsBegin: pre.addsBegin))
  }

  private func pairModel(_ pre: GGUFPreTokenizer) throws(TokenizerError) -> PairModel {
    guard let merges = vocabulary.merges else {
      throw .invalid(file: file, path: "tokenizer.ggml.merges", expected: "merges", found: "nothing")
    }
    var reader = GGUFMergeReader(vocabulary.tokens, isScalar: pre.isScalar, bytes: pre.isScalar ? bytes : [])
    for (rank, merge) in merges.enumerated() {
      guard reader.add(merge, rank: Int32(rank)) else {
        throw .invalid(
          file: file, path: "tokenizer.ggml.merges[\(rank)]",
          expected: "two tokens with a space between them",
          found: "\"\(String(decoding: merge.prefix(80), as: UTF8.self))\"")
      }
    }
    var model = reader.model()
    if pre.ignoresMerges || pre.isScalar {
      var words: [[UInt8]: Int32] = [:]
      for (id, token) in vocabulary.tokens.enumerated() {
        if pre.isScalar {
          if token.allSatisfy({ $0 == 0x0A }) { words[token] = Int32(id) }
        } else if let word = ByteAlphabet.bytes(of: String(decoding: token, as: UTF8.self)) {
          words[word] = Int32(id)
        }
      }
      model.wholeWords = words
    }
    return model
  }
}
