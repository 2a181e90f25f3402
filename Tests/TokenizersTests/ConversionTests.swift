import SafeIO
import TestSupport
import Testing
import Tokenizers

@Suite("Vocabularies from one form into another")
struct ConversionTests {
  /// Texts in many scripts, with everything that is rare, from a seed.
  static func texts(seed: UInt64, count: Int = 60) -> [[UInt8]] {
    var generator = SeededGenerator(seed: seed)
    let pools: [[String]] = [
      Array("abcdefghij klmnop qrstuv wxyz").map(String.init), ["A", "B", "Z", "'s", "'LL", "don't"],
      [" ", "  ", "\t", "\n", "\r\n", "\u{A0}", "\u{3000}"], Array("0123456789½٣").map(String.init),
      ["é", "e\u{301}", "ß", "ﬁ", "Ω", "приветмир", "世界", "你好", "مرحبا", "हिन्दी", "ไทย", "각"],
      ["🙂", "👍🏽", "👩‍👩‍👧", "🇩🇪"], ["\u{0}", "\u{1F}", "\u{7F}", "\u{200B}", "\u{FEFF}", "\u{FFFD}"],
      [".", ",", "!", "(", ")", "_", "-", "#", "$", "▁", "<s>", "</s>", "<0x41>", "##"],
    ]
    return (0..<count).map { _ in
      var text: [UInt8] = []
      for _ in 0..<Int.random(in: 0..<12, using: &generator) {
        let pool = pools[Int.random(in: 0..<pools.count, using: &generator)]
        let run = [1, 1, 2, 5, 40][Int.random(in: 0..<5, using: &generator)]
        for _ in 0..<run { text += Array(pool[Int.random(in: 0..<pool.count, using: &generator)].utf8) }
        if Int.random(in: 0..<20, using: &generator) == 0 { text.append(0xC3) }
      }
      return text
    }
  }

  /// Fails unless both give the same ids for texts, which `differs` may leave out.
  static func expectEqual(
    _ left: any Tokenizer, _ right: any Tokenizer, seed: UInt64, special: Bool = true,
    except differs: ([UInt8]) -> Bool = { _ in false }
  ) throws {
    for text in texts(seed: seed) where !differs(text) {
      for parses in [true, false] {
        let ids = try left.encode(text, addSpecialTokens: special, parseSpecialTokens: parses)
        #expect(
          try right.encode(text, addSpecialTokens: special, parseSpecialTokens: parses) == ids,
          "seed \(seed): \(String(decoding: text, as: UTF8.self).debugDescription)")
      }
    }
  }

  /// Whether a text has white space other than spaces, or the names of special pieces.
  static func isSpecial(_ text: [UInt8]) -> Bool {
    let text = String(decoding: text, as: UTF8.self)
    return text.contains { $0.isWhitespace && $0 != " " } || text.contains("<s>") || text.contains("</s>")
  }

  static func load(_ document: JSONValue, _ configuration: JSONValue? = nil) throws -> any Tokenizer {
    try TokenizerFormat.load(
      kind: .tokenizerJSON, bytes: Array(document.serialized().utf8), configuration: configuration)
  }

  @Test(
    "Byte-level BPE through GGUF and back",
    arguments: [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("digits", "starcoder")])
  func byteLevel(name: String, pre: String) throws {
    let golden = Golden(name: name)
    // GGUF does not say which added tokens take in white space or stand alone.
    var document = try golden.document().objectValue.orFail()
    let added = document["added_tokens"]?.arrayValue ?? []
    document["added_tokens"] = .array(added.filter { $0["special"] == .bool(true) })
    let source = try Self.load(.object(document))
    let vocabulary = try GGUFVocabulary(tokenizerJSON: Array(JSONValue.object(document).serialized().utf8))
    #expect(vocabulary.model == "gpt2" && vocabulary.pre == pre)
    let there = try TokenizerFormat.load(vocabulary: vocabulary)
    try Self.expectEqual(source, there, seed: 11)
    let back = try Self.load(vocabulary.tokenizerJSON(), vocabulary.tokenizerConfiguration())
    try Self.expectEqual(source, back, seed: 12)
    #expect(back.beginOfSequence == source.beginOfSequence && back.endOfSequence == source.endOfSequence)
    let again = try GGUFVocabulary(
      tokenizerJSON: Array(vocabulary.tokenizerJSON().serialized().utf8),
      configuration: vocabulary.tokenizerConfiguration())
    #expect(again.merges == vocabulary.merges && again.tokens == vocabulary.tokens && again.pre == pre)
    #expect(again.flags == vocabulary.flags)
  }

  @Test(
    "SentencePiece models through GGUF and tokenizer.json", arguments: ["bpe", "plain", "unigram", "rules"])
  func sentencePiece(name: String) throws {
    let bytes = try FileReading.readAll(Kind.vector(name + ".model"))
    let source = try TokenizerFormat.load(kind: .sentencePiece, bytes: bytes)
    let vocabulary = try GGUFVocabulary(sentencePiece: bytes)
    let there = try TokenizerFormat.load(vocabulary: vocabulary)
    let hasAdded = vocabulary.types?.contains(GGUFVocabulary.TokenType.userDefined.rawValue) ?? false
    // After an added token GGUF begins with a space again; a SentencePiece model does not, nor after a text of
    // spaces alone.
    try Self.expectEqual(source, there, seed: 21) { text in
      let text = String(decoding: text, as: UTF8.self)
      return text.contains("<s>") || text.contains("</s>") || hasAdded && text.contains("ing")
        || text.allSatisfy { $0.isWhitespace }
    }
    let back = try Self.load(vocabulary.tokenizerJSON(), vocabulary.tokenizerConfiguration())
    if name != "rules" {
      try Self.expectEqual(there, back, seed: 22) { text in
        // In tokenizer.json special pieces are pieces like any other, and Prepend puts its mark before spaces, too, which in
        // GGUF are left alone where there is nothing else.
        vocabulary.model == "t5" && (Self.isSpecial(text) || text.allSatisfy { $0 == 0x20 })
      }
    }
  }

  @Test("Unigram and WordPiece files through GGUF", arguments: ["unigram", "wordpiece"])
  func others(name: String) throws {
    var document = try JSONValue.parse(contentsOf: Kind.vector(name + ".tokenizer.json")).objectValue.orFail()
    if name == "wordpiece" {
      document["normalizer"] = [
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil,
        "lowercase": true,
      ]
    }
    let source = try Self.load(.object(document))
    let vocabulary = try GGUFVocabulary(tokenizerJSON: Array(JSONValue.object(document).serialized().utf8))
    #expect(vocabulary.model == (name == "unigram" ? "t5" : "bert"))
    let there = try TokenizerFormat.load(vocabulary: vocabulary)
    let back = try Self.load(vocabulary.tokenizerJSON(), vocabulary.tokenizerConfiguration())
    try Self.expectEqual(there, back, seed: 31) { text in
      Self.isSpecial(text)
    }
    try Self.expectEqual(source, back, seed: 32) { text in
      // Metaspace, which the source has, puts no mark before what begins with one, be that a space or the mark itself;
      // SentencePiece and llama.cpp always do, and GGUF can say nothing else.
      name == "unigram"
        && (text.first == 0x20 || text.starts(with: Array("▁".utf8)) || Self.isSpecial(text))
    }
  }

  @Test(
    "llama2.c vocabularies through GGUF and tokenizer.json",
    .enabled(if: SharedData.isAvailable, "no ../shared"))
  func llama2c() throws {
    let bytes = try FileReading.readAll(SharedData.path("models/stories260K/tok512.bin"))
    let source = try TokenizerFormat.load(kind: .llama2c, bytes: bytes)
    let vocabulary = try GGUFVocabulary(llama2c: bytes)
    #expect(
      vocabulary.tokens.count == source.vocabularyCount && vocabulary.scores?.contains { $0 < -1 } == true)
    let there = try TokenizerFormat.load(vocabulary: vocabulary)
    let back = try Self.load(vocabulary.tokenizerJSON(), vocabulary.tokenizerConfiguration())
    for tokenizer in [there, back] {
      try Self.expectEqual(source, tokenizer, seed: 23) { text in
        // U+2581 is a space to GGUF, and names of special tokens are text to llama2.c.
        let text = String(decoding: text, as: UTF8.self)
        return text.contains("▁") || text.contains("<")
      }
      let ids = try source.encode(
        Array("Once upon a time, Zoë".utf8), addSpecialTokens: true, parseSpecialTokens: false)
      #expect(tokenizer.decode(ids) == source.decode(ids) && ids.count > 5)
    }
    #expect(throws: TokenizerError.self) { try GGUFVocabulary(llama2c: Array(bytes.prefix(1000))) }
  }

  @Test("What GGUF leaves out of a tokenizer is said")
  func losses() throws {
    func losses(_ normalizer: JSONValue) -> [String] {
      GGUFVocabulary.losses(
        tokenizerJSON: Array(JSONValue.object(["normalizer": normalizer]).serialized().utf8))
    }
    #expect(losses(["type": "NFC"]).count == 1)
    #expect(
      losses(["type": "Sequence", "normalizers": [["type": "NFC"], ["type": "Lowercase"]]]).count == 1)
    #expect(losses(.null).isEmpty && losses(["type": "Replace"]).isEmpty)
    #expect(GGUFVocabulary.losses(tokenizerJSON: Array("no JSON".utf8)).isEmpty)
  }

  @Test("What GGUF has no place for is refused")
  func refusals() throws {
    var document = try Golden(name: "gpt2").document().objectValue.orFail()
    func isRefused(_ document: JSONObject) -> Bool {
      (try? GGUFVocabulary(tokenizerJSON: Array(JSONValue.object(document).serialized().utf8))) == nil
    }
    #expect(!isRefused(document))
    document["normalizer"] = ["type": "NFC"]
    #expect(!isRefused(document))
    document["normalizer"] = ["type": "NFKC"]
    #expect(isRefused(document))
    document["normalizer"] = JSONValue.null
    document["pre_tokenizer"] = [
      "type": "Sequence",
      "pretokenizers": [
        ["type": "Split", "pattern": ["Regex": "[ab]+"], "behavior": "Isolated", "invert": false],
        ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
      ],
    ]
    #expect(isRefused(document))
  }

  @Test("Ids, switches, templates and bytes that are not UTF-8 survive")
  func canonicalJSON() throws {
    let vocabulary = GGUFVocabulary(
      model: "gpt2", pre: "gpt-2", tokens: [[0xFF], Array("é".utf8), Array("e\u{301}".utf8), []],
      scores: [0.1, -.infinity, 3, -0.0], types: [1, 1, 3, 5], merges: [[0x61, 0x20, 0xC3]],
      ids: ["bos_token_id": 2, "eos_token_id": 1], flags: ["add_bos_token": true], charsmap: [0, 255],
      chatTemplate: "{{ x }}\n", namedChatTemplates: ["tool": "t"])
    #expect(try GGUFVocabulary(parsingJSON: vocabulary.canonicalJSON) == vocabulary)
    #expect(GGUFVocabulary(metadata: vocabulary.metadata) == vocabulary)
    #expect(GGUFVocabulary(metadata: [("tokenizer.ggml.model", .string("x"))]) == nil)
    for count in stride(from: 0, to: vocabulary.canonicalJSON.count, by: 7) {
      #expect(throws: TokenizerError.self) {
        try GGUFVocabulary(parsingJSON: Array(vocabulary.canonicalJSON[..<count]))
      }
    }
  }
}
