import SafeIO

/// Makes a tokenizer of a vocabulary out of a GGUF file.
///
/// Source: the behaviour of llama.cpp's vocabularies, which define what these keys mean; split patterns are
/// those of the models' own tokenizers.
struct GGUFTokenizerBuilder {
  let vocabulary: GGUFVocabulary
  let file: String?

  /// Most tokens.
  private static let maximumTokenCount = 1 << 24

  /// The tokenizer.
  func build() throws(TokenizerError) -> PipelineTokenizer {
    try check()
    switch vocabulary.model {
    case "llama": return try sentencePiece()
    case "gpt2": return try byteLevel()
    case "gemma4": return try byteLevel(GGUFPreTokenizer.scalarPairs)
    case "t5": return try unigram()
    case "bert": return try wordPiece()
    default:
      throw .unsupported(
        file: file, path: "tokenizer.ggml.model", found: vocabulary.model,
        hint: "implemented are llama, gpt2, gemma4, t5 and bert")
    }
  }

  private func check() throws(TokenizerError) {
    let count = vocabulary.tokens.count
    guard count > 0 else {
      throw .invalid(file: file, path: "tokenizer.ggml.tokens", expected: "at least one token", found: "none")
    }
    guard count <= Self.maximumTokenCount else {
      throw .limit(file: file, path: "tokenizer.ggml.tokens", limit: Self.maximumTokenCount, found: count)
    }
    for (name, found) in [("scores", vocabulary.scores?.count), ("token_type", vocabulary.types?.count)] {
      if let found, found < count {
        throw .invalid(
          file: file, path: "tokenizer.ggml.\(name)", expected: "one for each of \(count) tokens",
          found: "\(found)")
      }
    }
    if let index = vocabulary.scores?.prefix(count).firstIndex(where: \.isNaN) {
      throw .invalid(file: file, path: "tokenizer.ggml.scores[\(index)]", expected: "a number", found: "NaN")
    }
  }

  /// The id of a special token; `fallback` when the file says nothing, nil when the vocabulary lacks it.
  func id(_ name: String, default fallback: Int32? = nil) -> Int32? {
    guard let id = vocabulary.ids[name] ?? fallback, id >= 0, id < vocabulary.tokens.count else { return nil }
    return id
  }

  /// The tokenizer of the parts that are particular to a model, with those that all have.
  func tokenizer(
    normalization: [NormalizationStep] = [], splitting: [SplittingStep], model: TokenModel,
    decoding: TokenDecoding, ends: Ends
  ) -> PipelineTokenizer {
    let types = GGUFTokenTypes(vocabulary)
    let added = vocabulary.tokens.indices.compactMap { id -> AddedToken? in
      let type = types[id]
      guard type == .control || type == .unknown || type == .userDefined else { return nil }
      guard let text = String(validating: vocabulary.tokens[id], as: UTF8.self), !text.isEmpty else {
        return nil
      }
      return AddedToken(id: Int32(id), content: text, isSpecial: type != .userDefined)
    }
    let special = Set(
      vocabulary.tokens.indices.filter { [.control, .unknown].contains(types[$0]) }.map(Int32.init))
    var tokenizer = PipelineTokenizer(
      normalization: normalization, splitting: splitting, model: model, decoding: decoding,
      addedTokens: (AddedTokenMatcher(Self.unique(added)), AddedTokenMatcher([])),
      vocabulary: Vocabulary(vocabulary.tokens, special: special) { id, name in
        switch types[Int(id)] {
        case .control, .unknown, .userDefined: name
        case .byte: Metaspace.byte(of: name).map { [$0] } ?? name
        case .normal, .unused: decoding.bytes(name: name, isAtStart: false)
        }
      })
    tokenizer.beginOfSequence = ends.begin
    tokenizer.endOfSequence = ends.end
    if vocabulary.flags["add_bos_token"] ?? ends.addsBegin, let begin = ends.begin {
      tokenizer.prefix = [begin]
    }
    if vocabulary.flags["add_eos_token"] ?? ends.addsEnd, let end = ends.last ?? ends.end {
      tokenizer.suffix = [end]
    }
    return tokenizer
  }

  /// Of equal texts the last counts.
  private static func unique(_ tokens: [AddedToken]) -> [AddedToken] {
    var seen: Set<ExactString> = []
    return tokens.reversed().filter { seen.insert(ExactString($0.content)).inserted }
  }

  /// The tokens around a text, and whether a model has them unless the file says otherwise.
  struct Ends {
    var begin: Int32?
    var end: Int32?
    var addsBegin = false
    var addsEnd = false
    /// What stands at the end in the place of ``end``.
    var last: Int32?
  }
}

/// The types of tokens, with those corrected that many files have wrong.
struct GGUFTokenTypes {
  private var types: [GGUFVocabulary.TokenType]

  /// Tokens that control the model whatever the file says of them.
  private static let control: Set<String> = [
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>",
    "_<EOT>",
    "[EOT]", "[EOS]", "<｜end▁of▁sentence｜>", "<end_of_utterance>", "<|eom_id|>", "<|return|>", "<|call|>",
    "<|flush|>", "<|calls|>", "</s>", "<eos>", "<turn|>", "<|tool_response>", "[e~[", "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>", "<|fim_suffix|>",
    "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>",
    "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
    "<|middle|>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>",
    "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
  ]

  /// Tokens that are text whatever the file says of them.
  private static let userDefined: Set<String> = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"]

  /// The types of a vocabulary.
  init(_ vocabulary: GGUFVocabulary) {
    types = vocabulary.tokens.indices.map(vocabulary.type)
    let longest = 40
    for (id, token) in vocabulary.tokens.enumerated() where token.count < longest && token.last != 0x20 {
      guard [0x3C, 0x5B, 0x5F, 0xE2].contains(token.first) else { continue }
      let text = String(decoding: token, as: UTF8.self)
      if Self.control.contains(text) { types[id] = .control }
      if Self.userDefined.contains(text) { types[id] = .userDefined }
    }
  }

  subscript(id: Int) -> GGUFVocabulary.TokenType { types[id] }
}
