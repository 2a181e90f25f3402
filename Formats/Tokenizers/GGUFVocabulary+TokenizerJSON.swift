import SafeIO

/// From `tokenizer.json`.
extension GGUFVocabulary {
  /// Says in GGUF's terms what a `tokenizer.json` says.
  ///
  /// Byte-level BPE becomes `gpt2` with the name of the split pattern; BPE over scalars with U+2581 becomes `llama`,
  /// with the scores of `sentencePiece` or, without it, scores in the order of the merges; Unigram becomes `t5`,
  /// WordPiece `bert`. NFC is left out: GGUF has no place for it.
  ///
  /// - Parameters:
  ///   - tokenizerJSON: the file's bytes.
  ///   - configuration: `tokenizer_config.json`: special tokens and the chat template.
  ///   - sentencePiece: the bytes of the `tokenizer.model` beside it, for its scores.
  ///   - file: the name for errors.
  /// - Throws: ``TokenizerError/unsupported(file:path:found:hint:)`` for what GGUF cannot express.
  public init(
    tokenizerJSON: [UInt8], configuration: JSONValue? = nil, sentencePiece: [UInt8]? = nil,
    file: String? = nil
  ) throws(TokenizerError) {
    let tokenizer = try TokenizerJSONReader(file: file).read(tokenizerJSON, configuration: configuration)
    let root: JSONNode
    do {
      root = JSONNode(value: try JSONValue.parse(tokenizerJSON, file: file), path: "", file: file)
    } catch {
      throw .unreadable(error)
    }
    self.init(model: "", tokens: [])
    let count = tokenizer.vocabularyCount
    tokens = (0..<count).map { id in
      tokenizer.token(Int32(id)).map { Array($0.utf8) } ?? Array("[PAD\(id)]".utf8)
    }
    var types = (0..<count).map { id -> TokenType in tokenizer.token(Int32(id)) == nil ? .unused : .normal }
    for node in try root.member("added_tokens")?.elements() ?? [] {
      let isSpecial = try node.flag("special", default: false)
      types[Int(try node.required("id").tokenID())] = isSpecial ? .control : .userDefined
    }
    let builder = TokenizerJSONConversion(
      root: root, tokenizer: tokenizer, sentencePiece: sentencePiece, file: file)
    try builder.fill(&self, &types)
    self.types = types.map(\.rawValue)
    try takeEnds(of: tokenizer, configuration, file: file)
    takeTemplates(configuration)
  }

  private mutating func takeEnds(
    of tokenizer: PipelineTokenizer, _ configuration: JSONValue?, file: String?
  ) throws(TokenizerError) {
    ids["bos_token_id"] = tokenizer.beginOfSequence
    ids["eos_token_id"] = tokenizer.endOfSequence
    for (key, name) in [("pad_token", "padding_token_id"), ("unk_token", "unknown_token_id")] {
      if ids[name] != nil { continue }
      let value = configuration?[key]
      guard let text = value?.stringValue ?? value?["content"]?.stringValue else { continue }
      ids[name] = tokenizer.id(of: text)
    }
    if model == "bert" {
      guard let begin = tokenizer.prefix.first, let end = tokenizer.suffix.first, tokenizer.prefix.count == 1,
        tokenizer.suffix.count == 1
      else { throw Self.unsupportedTemplate(file) }
      ids["bos_token_id"] = begin
      ids["cls_token_id"] = begin
      ids["seperator_token_id"] = end
      return
    }
    guard tokenizer.prefix.isEmpty || tokenizer.prefix == tokenizer.beginOfSequence.map({ [$0] }),
      tokenizer.suffix.isEmpty || tokenizer.suffix == tokenizer.endOfSequence.map({ [$0] })
    else { throw Self.unsupportedTemplate(file) }
    flags["add_bos_token"] = !tokenizer.prefix.isEmpty
    flags["add_eos_token"] = !tokenizer.suffix.isEmpty
  }

  private static func unsupportedTemplate(_ file: String?) -> TokenizerError {
    .unsupported(
      file: file, path: "post_processor", found: "other tokens around a text",
      hint: "GGUF has the beginning of the sequence before a text and its end after it, or neither")
  }

  mutating func takeTemplates(_ configuration: JSONValue?) {
    guard let template = configuration?["chat_template"] else { return }
    chatTemplate = template.stringValue
    for entry in template.arrayValue ?? [] {
      guard let name = entry["name"]?.stringValue, let text = entry["template"]?.stringValue else { continue }
      if name == "default" { chatTemplate = text } else { namedChatTemplates[name] = text }
    }
  }
}

/// What of a `tokenizer.json` goes where.
struct TokenizerJSONConversion {
  let root: JSONNode
  let tokenizer: PipelineTokenizer
  let sentencePiece: [UInt8]?
  let file: String?

  /// Fills in everything but ends and templates.
  func fill(
    _ vocabulary: inout GGUFVocabulary, _ types: inout [GGUFVocabulary.TokenType]
  ) throws(TokenizerError) {
    switch tokenizer.model {
    case .pairs(let model):
      if case .bytes = model.symbols {
        try fillByteLevel(&vocabulary)
      } else {
        try fillSentencePiece(&vocabulary, &types, model)
      }
    case .unigram(let model): try fillUnigram(&vocabulary, &types, model)
    case .wordPiece(let model): try fillWordPiece(&vocabulary, &types, model)
    case .words: throw unsupported("model", "WordLevel", "GGUF has no such model")
    }
  }

  private func unsupported(_ path: String, _ found: String, _ hint: String) -> TokenizerError {
    .unsupported(file: file, path: path, found: found, hint: hint)
  }

  private func merges() throws(TokenizerError) -> [(left: String, right: String)] {
    var result: [(left: String, right: String)] = []
    for node in try root.required("model").required("merges").elements() {
      guard let pair = TokenizerJSONReader.pair(node.value) else { throw node.invalid("two tokens") }
      guard !pair.0.utf8.contains(0x20), !pair.1.utf8.contains(0x20) else {
        throw node.unsupported("GGUF writes merges with a space between the tokens")
      }
      result.append((left: pair.0, right: pair.1))
    }
    return result
  }

  private func fillByteLevel(_ vocabulary: inout GGUFVocabulary) throws(TokenizerError) {
    for step in tokenizer.normalization {
      guard case .unicode(.nfc) = step else {
        throw unsupported("normalizer", "other than NFC", "GGUF has no normalizers")
      }
    }
    var names: [String] = []
    for step in tokenizer.splitting {
      switch step {
      case .split(let pattern, .isolated, isInverted: false): names.append(pattern.name)
      case .split(let pattern, .contiguous, isInverted: false)
      where pattern.name == SplitPattern.singleDigits.name:
        names.append(SplitPattern.digitRuns.name)
      default: throw unsupported("pre_tokenizer", "\(step)", "GGUF has no name for it")
      }
    }
    let ignoresMerges = try root.required("model").flag("ignore_merges", default: false)
    guard let pre = GGUFPreTokenizer.row(patterns: names, ignoresMerges: ignoresMerges) else {
      throw unsupported(
        "pre_tokenizer", names.joined(separator: ", ") + (ignoresMerges ? ", ignoring merges" : ""),
        "GGUF has no name for these patterns together")
    }
    vocabulary.model = "gpt2"
    vocabulary.pre = pre.preferredName
    vocabulary.merges = try merges().map { Array("\($0.left) \($0.right)".utf8) }
  }

  private func fillSentencePiece(
    _ vocabulary: inout GGUFVocabulary, _ types: inout [GGUFVocabulary.TokenType], _ model: PairModel
  ) throws(TokenizerError) {
    vocabulary.model = "llama"
    vocabulary.pre = "default"
    vocabulary.flags["add_space_prefix"] = try hasSpacePrefix()
    vocabulary.ids["unknown_token_id"] = model.unknown?.token
    if let unknown = model.unknown { types[Int(unknown.token)] = .unknown }
    for (id, token) in vocabulary.tokens.enumerated()
    where types[id] == .normal && Metaspace.byte(of: token) != nil {
      types[id] = .byte
    }
    vocabulary.scores = try scores(vocabulary.tokens)
  }

  private func hasSpacePrefix() throws(TokenizerError) -> Bool {
    let replacesSpaces: (NormalizationStep) -> Bool = {
      if case .replace([0x20], by: Metaspace.mark) = $0 { true } else { false }
    }
    if tokenizer.normalization.isEmpty, tokenizer.splitting.count == 1,
      case .metaspace(let prefix, _) = tokenizer.splitting[0]
    {
      return prefix != .never
    }
    if tokenizer.splitting.isEmpty || isUnsplit(tokenizer.splitting) {
      if tokenizer.normalization.count == 1, replacesSpaces(tokenizer.normalization[0]) { return false }
      if tokenizer.normalization.count == 2, replacesSpaces(tokenizer.normalization[1]),
        case .prepend(Metaspace.mark) = tokenizer.normalization[0]
      {
        return true
      }
    }
    throw unsupported(
      "normalizer", "other than spaces as U+2581",
      "GGUF's llama model knows spaces as U+2581 and no other change")
  }

  /// A split at spaces does nothing where there are none left (Gemma's tokenizers have one).
  private func isUnsplit(_ steps: [SplittingStep]) -> Bool {
    steps.count == 1
      && {
        if case .split(let pattern, .mergedWithPrevious, _) = steps[0] { pattern.name == " " } else { false }
      }()
  }

  /// The scores of the SentencePiece model if it has the same pieces, else scores in the order of the merges.
  private func scores(_ tokens: [[UInt8]]) throws(TokenizerError) -> [Float] {
    var scores = Array(repeating: Float(0), count: tokens.count)
    if let sentencePiece {
      let model = try SentencePieceModel(parsing: sentencePiece, file: nil)
      let isSame =
        model.pieces.count <= tokens.count
        && model.pieces.indices.allSatisfy { model.pieces[$0] == tokens[$0] }
      if isSame, model.kind == .bpe {
        for (id, score) in model.scores.enumerated() { scores[id] = score }
        for id in model.scores.count..<tokens.count { scores[id] = -1000 }
        return scores
      }
    }
    let ids = Dictionary(tokens.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    let merges = try merges()
    var isScored = Array(repeating: false, count: tokens.count)
    for (rank, merge) in merges.enumerated() {
      guard let id = ids[Array(merge.left.utf8) + Array(merge.right.utf8)], !isScored[id] else { continue }
      isScored[id] = true
      scores[id] = -Float(rank)
    }
    let lowest = -Float(merges.count + 1)
    for (id, token) in tokens.enumerated() where !isScored[id] && Metaspace.byte(of: token) == nil {
      scores[id] = tokenizer.isSpecial(Int32(id)) ? 0 : lowest
    }
    return scores
  }

  private func fillUnigram(
    _ vocabulary: inout GGUFVocabulary, _ types: inout [GGUFVocabulary.TokenType], _ model: UnigramModel
  ) throws(TokenizerError) {
    vocabulary.model = "t5"
    vocabulary.pre = "default"
    vocabulary.scores = vocabulary.tokens.indices.map {
      $0 < model.scores.count ? Float(model.scores[$0]) : -1000
    }
    vocabulary.ids["unknown_token_id"] = model.unknown
    if let unknown = model.unknown { types[Int(unknown)] = .unknown }
    var removesExtraSpaces = false
    var prefix = SplittingStep.MetaspacePrefix.never
    for step in tokenizer.normalization {
      switch step {
      case .charsmap(let map): vocabulary.charsmap = map.bytes
      case .replaceMatches(let pattern, by: _)
      where pattern.name == UnigramSpaces.runs || pattern.name == UnigramSpaces.ends:
        removesExtraSpaces = true
      case .strip, .replace([0x20], by: Metaspace.mark): continue
      case .prepend(Metaspace.mark): prefix = .unconditional
      default: throw unsupported("normalizer", "\(step)", "GGUF's t5 model knows Precompiled and spaces only")
      }
    }
    for step in tokenizer.splitting {
      switch step {
      case .split(let pattern, .removed, isInverted: false) where pattern.name == SplitPattern.spaces.name:
        removesExtraSpaces = true
      case .metaspace(let scheme, _): prefix = scheme
      default:
        throw unsupported("pre_tokenizer", "\(step)", "GGUF's t5 model knows Metaspace and WhitespaceSplit")
      }
    }
    vocabulary.flags["add_space_prefix"] = prefix != .never
    vocabulary.flags["remove_extra_whitespaces"] = removesExtraSpaces
  }

  private func fillWordPiece(
    _ vocabulary: inout GGUFVocabulary, _ types: inout [GGUFVocabulary.TokenType], _ model: WordPieceModel
  ) throws(TokenizerError) {
    guard tokenizer.normalization.count == 1, case .bert(let normalizer) = tokenizer.normalization[0],
      normalizer.cleansText, normalizer.splitsHan
    else { throw unsupported("normalizer", "other than BertNormalizer", "GGUF's bert model knows no other") }
    vocabulary.model = "bert"
    vocabulary.flags["normalizer.lowercase"] = normalizer.lowercases
    vocabulary.flags["normalizer.strip_accents"] = normalizer.stripsAccents
    vocabulary.ids["unknown_token_id"] = model.unknown
    for id in vocabulary.tokens.indices where types[id] == .normal {
      let token = vocabulary.tokens[id]
      vocabulary.tokens[id] =
        token.starts(with: Array("##".utf8)) ? Array(token.dropFirst(2)) : Metaspace.mark + token
    }
    if let unknown = model.unknown { types[Int(unknown)] = .unknown }
  }
}

extension GGUFPreTokenizer {
  /// The row whose patterns are these.
  static func row(patterns: [String], ignoresMerges: Bool) -> GGUFPreTokenizer? {
    all.first { row in
      !row.isScalar && row.ignoresMerges == ignoresMerges
        && (row.expressions.isEmpty ? row.patterns.map(\.name) : row.expressions) == patterns
    }
  }

  /// The name that is written.
  var preferredName: String { names.contains("llama-bpe") ? "llama-bpe" : names[0] }
}
