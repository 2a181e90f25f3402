import SafeIO

/// To `tokenizer.json` and `tokenizer_config.json`.
extension GGUFVocabulary {
  /// A `tokenizer.json` that gives the same ids.
  /// - Throws: ``TokenizerError`` for vocabularies that are damaged or of a kind that is not read.
  public func tokenizerJSON(file: String? = nil) throws(TokenizerError) -> JSONValue {
    // Whatever the tokenizer refuses is refused here.
    let tokenizer = try GGUFTokenizerBuilder(vocabulary: self, file: file).build()
    var document: JSONObject = ["version": "1.0", "truncation": nil, "padding": nil]
    document["added_tokens"] = addedTokens()
    let parts = try TokenizerJSONParts(vocabulary: self, tokenizer: tokenizer, file: file)
    document["normalizer"] = parts.normalizer
    document["pre_tokenizer"] = parts.preTokenizer
    document["post_processor"] = template(tokenizer)
    document["decoder"] = parts.decoder
    document["model"] = parts.model
    return .object(document)
  }

  /// A `tokenizer_config.json` that goes with ``tokenizerJSON(file:)``.
  public func tokenizerConfiguration() -> JSONValue {
    var object: JSONObject = [
      "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
    ]
    for (key, name) in [
      ("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("unk_token", "unknown_token_id"),
      ("pad_token", "padding_token_id"), ("cls_token", "cls_token_id"), ("sep_token", "seperator_token_id"),
      ("mask_token", "mask_token_id"),
    ] {
      guard let id = ids[name], tokens.indices.contains(Int(id)) else { continue }
      object[key] = .string(text(Int(id)))
    }
    if namedChatTemplates.isEmpty {
      object["chat_template"] = chatTemplate.map(JSONValue.string)
    } else {
      var templates = namedChatTemplates
      templates["default"] = chatTemplate
      object["chat_template"] = .array(
        templates.sorted { $0.key < $1.key }.map { ["name": .string($0.key), "template": .string($0.value)] })
    }
    return .object(object)
  }

  private func addedTokens() -> JSONValue {
    let types = GGUFTokenTypes(self)
    var seen: Set<ExactString> = []
    var result: [JSONValue] = []
    for id in tokens.indices
    where [.control, .unknown, .userDefined].contains(types[id]) && !tokens[id].isEmpty {
      guard seen.insert(ExactString(text(id))).inserted else { continue }
      result.append([
        "id": JSONValue(id), "content": .string(text(id)), "single_word": false, "lstrip": false,
        "rstrip": false,
        "normalized": false, "special": .bool(types[id] != .userDefined),
      ])
    }
    return .array(result)
  }

  private func template(_ tokenizer: PipelineTokenizer) -> JSONValue {
    if tokenizer.prefix.isEmpty, tokenizer.suffix.isEmpty { return .null }
    func pieces(_ tokens: [Int32], _ type: Int) -> [JSONValue] {
      tokens.map { ["SpecialToken": ["id": .string(text(Int($0))), "type_id": JSONValue(type)]] }
    }
    func sequence(_ name: String, _ type: Int) -> [JSONValue] {
      pieces(tokenizer.prefix, type) + [["Sequence": ["id": .string(name), "type_id": JSONValue(type)]]]
        + pieces(tokenizer.suffix, type)
    }
    var special = JSONObject()
    for id in tokenizer.prefix + tokenizer.suffix {
      let name = JSONValue.string(text(Int(id)))
      special[text(Int(id))] = ["id": name, "ids": [JSONValue(Int(id))], "tokens": [name]]
    }
    return [
      "type": "TemplateProcessing", "single": .array(sequence("A", 0)),
      "pair": .array(sequence("A", 0) + sequence("B", 1)), "special_tokens": .object(special),
    ]
  }
}

/// What a unigram vocabulary that removes extra spaces does to them, as regular expressions.
enum UnigramSpaces {
  /// Spaces at the ends, which go.
  static let ends = #"\A +| +\z"#
  /// Spaces that become one.
  static let runs = " {2,}"
}

/// The parts of a `tokenizer.json` that depend on the kind of vocabulary.
struct TokenizerJSONParts {
  var normalizer = JSONValue.null
  var preTokenizer = JSONValue.null
  var decoder = JSONValue.null
  var model = JSONValue.null

  private let vocabulary: GGUFVocabulary

  /// Makes them.
  init(vocabulary: GGUFVocabulary, tokenizer: PipelineTokenizer, file: String?) throws(TokenizerError) {
    self.vocabulary = vocabulary
    switch (vocabulary.model, tokenizer.model) {
    case ("llama", .pairs(let pairs)): makeSentencePiece(tokenizer, pairs)
    case ("t5", .unigram(let unigram)): makeUnigram(unigram)
    case ("bert", .wordPiece(let wordPiece)): makeWordPiece(wordPiece)
    case (_, .pairs): try makeByteLevel(tokenizer, file)
    default:
      throw .unsupported(
        file: file, path: "tokenizer.ggml.model", found: vocabulary.model, hint: "it has no tokenizer.json")
    }
  }

  private func ids() -> JSONValue {
    var object = JSONObject()
    for (id, _) in vocabulary.tokens.enumerated() {
      let name = vocabulary.text(id)
      object[object[name] == nil ? name : "\(name)[\(id)]"] = JSONValue(id)
    }
    return .object(object)
  }

  private static func replacement(of old: String, by new: String) -> JSONValue {
    ["type": "Replace", "pattern": ["String": .string(old)], "content": .string(new)]
  }

  private static func sequence(_ key: String, _ parts: [JSONValue]) -> JSONValue {
    parts.count == 1 ? parts[0] : ["type": "Sequence", key: .array(parts)]
  }

  private static func spaces(isPrefixed: Bool) -> (normalizer: JSONValue, decoder: JSONValue) {
    let prepend: [JSONValue] = isPrefixed ? [["type": "Prepend", "prepend": .string(Metaspace.text)]] : []
    let strip: [JSONValue] = isPrefixed ? [["type": "Strip", "content": " ", "start": 1, "stop": 0]] : []
    return (
      sequence("normalizers", prepend + [replacement(of: " ", by: Metaspace.text)]),
      [
        "type": "Sequence",
        "decoders": .array(
          [replacement(of: Metaspace.text, by: " "), ["type": "ByteFallback"], ["type": "Fuse"]] + strip),
      ]
    )
  }

  private mutating func makeSentencePiece(_ tokenizer: PipelineTokenizer, _ pairs: PairModel) {
    (normalizer, decoder) = Self.spaces(isPrefixed: tokenizer.decoding.dropsFirstSpace)
    let count = Int32(vocabulary.tokens.count)
    let merges = pairs.merges.entries.filter { $0.left < count && $0.right < count }.sorted {
      ($0.merge.rank, $0.merge.result, $0.left) < ($1.merge.rank, $1.merge.result, $1.left)
    }
    var object = bytePairs(
      .array(
        merges.map { [.string(vocabulary.text(Int($0.left))), .string(vocabulary.text(Int($0.right)))] }))
    object["unk_token"] = pairs.unknown.map { .string(vocabulary.text(Int($0.token))) }
    object["fuse_unk"] = true
    object["byte_fallback"] = true
    model = .object(object)
  }

  private func bytePairs(_ merges: JSONValue) -> JSONObject {
    [
      "type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil,
      "end_of_word_suffix": nil,
      "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": ids(), "merges": merges,
    ]
  }

  private mutating func makeByteLevel(_ tokenizer: PipelineTokenizer, _ file: String?) throws(TokenizerError)
  {
    var steps: [JSONValue] = []
    var isScalar = false
    for step in tokenizer.splitting {
      switch step {
      case .split(let pattern, _, _):
        steps.append([
          "type": "Split", "pattern": ["Regex": .string(pattern.texts.first ?? pattern.name)],
          "behavior": "Isolated", "invert": false,
        ])
      default: isScalar = true
      }
    }
    if isScalar {
      (normalizer, decoder) = Self.spaces(isPrefixed: false)
    } else {
      steps.append(["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false])
      decoder = ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true]
    }
    preTokenizer = Self.sequence("pretokenizers", steps)
    let known = Set(vocabulary.tokens)
    let merges: [JSONValue] = (vocabulary.merges ?? []).compactMap { merge in
      guard let space = merge.dropFirst().firstIndex(of: 0x20) else { return nil }
      let (left, right) = (Array(merge[..<space]), Array(merge[(space + 1)...]))
      guard known.contains(left), known.contains(right), known.contains(left + right) else { return nil }
      return [
        .string(String(decoding: left, as: UTF8.self)), .string(String(decoding: right, as: UTF8.self)),
      ]
    }
    var object = bytePairs(.array(merges))
    if case .pairs(let pairs) = tokenizer.model, pairs.wholeWords != nil, !isScalar {
      object["ignore_merges"] = true
    }
    if isScalar { object["byte_fallback"] = true }
    model = .object(object)
  }

  private mutating func makeUnigram(_ unigram: UnigramModel) {
    var steps: [JSONValue] = []
    if let charsmap = vocabulary.charsmap, !charsmap.isEmpty {
      steps.append(["type": "Precompiled", "precompiled_charsmap": .string(PackedIntegers.base64(charsmap))])
    }
    let removesExtraSpaces = vocabulary.flags["remove_extra_whitespaces"] ?? false
    let isPrefixed = vocabulary.flags["add_space_prefix"] ?? false || removesExtraSpaces
    if removesExtraSpaces {
      steps += [UnigramSpaces.ends, UnigramSpaces.runs].map {
        [
          "type": "Replace", "pattern": ["Regex": .string($0)],
          "content": $0 == UnigramSpaces.runs ? " " : "",
        ]
      }
    }
    // Not Metaspace: it puts no mark before a text that begins with one already, be that a space or the mark itself.
    if isPrefixed { steps.append(["type": "Prepend", "prepend": .string(Metaspace.text)]) }
    steps.append(Self.replacement(of: " ", by: Metaspace.text))
    normalizer = Self.sequence("normalizers", steps)
    decoder = [
      "type": "Metaspace", "replacement": .string(Metaspace.text),
      "prepend_scheme": isPrefixed ? "always" : "never", "split": true,
    ]
    var object: JSONObject = ["type": "Unigram"]
    object["unk_id"] = unigram.unknown.map { JSONValue(Int($0)) }
    object["vocab"] = .array(
      vocabulary.tokens.indices.map {
        [.string(vocabulary.text($0)), .number(unigram.scores[$0])]
      })
    object["byte_fallback"] = false
    model = .object(object)
  }

  private mutating func makeWordPiece(_ wordPiece: WordPieceModel) {
    let lowercases = vocabulary.flags["normalizer.lowercase"] ?? true
    normalizer = [
      "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
      "strip_accents": .bool(vocabulary.flags["normalizer.strip_accents"] ?? lowercases),
      "lowercase": .bool(lowercases),
    ]
    preTokenizer = ["type": "BertPreTokenizer"]
    decoder = ["type": "WordPiece", "prefix": "##", "cleanup": true]
    let types = GGUFTokenTypes(vocabulary)
    var ids = JSONObject()
    for (id, token) in vocabulary.tokens.enumerated() {
      var name = vocabulary.text(id)
      if types[id] == .normal {
        name =
          token.starts(with: Metaspace.mark)
          ? String(decoding: token.dropFirst(3), as: UTF8.self) : "##" + name
      }
      ids[ids[name] == nil ? name : "\(name)[\(id)]"] = JSONValue(id)
    }
    model = [
      "type": "WordPiece",
      "unk_token": .string(wordPiece.unknown.map { vocabulary.text(Int($0)) } ?? "[UNK]"),
      "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": .object(ids),
    ]
  }
}
