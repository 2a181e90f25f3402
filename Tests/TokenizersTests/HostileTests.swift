import SafeIO
import TensorCore
import TestSupport
import Testing
import Tokenizers

@Suite("Damaged and hostile tokenizer files")
struct HostileTests {
  /// A change of the Llama-3 golden, and where the error must point.
  struct Change: Sendable, CustomStringConvertible {
    var path: [String]
    var value: JSONValue
    var subject: String
    var isUnsupported = false
    var description: String { "\(path.joined(separator: "."))" }
  }

  static func object(_ members: (String, JSONValue)...) -> JSONValue { .object(JSONObject(members)) }

  static func split(_ pattern: String, behavior: String = "Isolated") -> JSONValue {
    object(
      ("type", "Split"), ("pattern", object(("Regex", .string(pattern)))), ("behavior", .string(behavior)),
      ("invert", false))
  }

  static func added(_ id: JSONValue, _ content: JSONValue, normalized: Bool = false) -> JSONValue {
    object(("id", id), ("content", content), ("special", true), ("normalized", .bool(normalized)))
  }

  static let byteLevel = object(("type", "ByteLevel"), ("add_prefix_space", false), ("use_regex", false))

  static let changes: [Change] = [
    Change(path: ["version"], value: "2.0", subject: "version", isUnsupported: true),
    Change(path: ["model"], value: nil, subject: "model"),
    Change(path: ["model", "type"], value: "Unigram", subject: "model", isUnsupported: true),
    Change(path: ["model", "type"], value: "Magic", subject: "model", isUnsupported: true),
    Change(path: ["model", "vocab"], value: [], subject: "model.vocab"),
    Change(path: ["model", "vocab", "a"], value: -1, subject: "model.vocab[\"a\"]"),
    Change(path: ["model", "vocab", "a"], value: 0, subject: "model.vocab[\"a\"]"),
    Change(path: ["model", "vocab", "a"], value: 1_099_511_627_776, subject: "model.vocab[\"a\"]"),
    Change(path: ["model", "vocab", "a"], value: 70000, subject: "model.vocab[\"a\"]"),
    Change(path: ["model", "vocab", "a"], value: 1.5, subject: "model.vocab[\"a\"]"),
    Change(path: ["model", "merges"], value: "a b", subject: "model.merges"),
    Change(path: ["model", "merges"], value: ["zz qq"], subject: "model.merges[0]"),
    Change(path: ["model", "merges"], value: ["a b c"], subject: "model.merges[0]"),
    Change(path: ["model", "merges"], value: [" a"], subject: "model.merges[0]"),
    Change(path: ["model", "merges"], value: [["a"]], subject: "model.merges[0]"),
    Change(path: ["model", "merges"], value: [["a", ""]], subject: "model.merges[0]"),
    Change(path: ["model", "merges"], value: [7], subject: "model.merges[0]"),
    Change(path: ["model", "unk_token"], value: "nowhere", subject: "model.unk_token"),
    Change(path: ["model", "dropout"], value: 0.1, subject: "model.dropout", isUnsupported: true),
    Change(
      path: ["model", "continuing_subword_prefix"], value: "##", subject: "model.continuing_subword_prefix",
      isUnsupported: true),
    Change(
      path: ["model", "end_of_word_suffix"], value: "</w>", subject: "model.end_of_word_suffix",
      isUnsupported: true),
    Change(
      path: ["normalizer"], value: object(("type", "ByteLevel")), subject: "normalizer", isUnsupported: true),
    Change(path: ["normalizer"], value: object(("type", "Prepend")), subject: "normalizer.prepend"),
    Change(
      path: ["normalizer"],
      value: object(("type", "Prepend"), ("prepend", .string(String(repeating: "a", count: 1000)))),
      subject: "normalizer.prepend"),
    Change(
      path: ["normalizer"],
      value: object(("type", "Replace"), ("pattern", object(("String", ""))), ("content", "x")),
      subject: "normalizer.pattern.String"),
    Change(
      path: ["normalizer"], value: object(("type", "Precompiled"), ("precompiled_charsmap", "AAAA")),
      subject: "normalizer.precompiled_charsmap"),
    Change(
      path: ["normalizer"], value: object(("type", "Precompiled"), ("precompiled_charsmap", "not base64")),
      subject: "normalizer.precompiled_charsmap"),
    Change(
      path: ["normalizer"],
      value: object(
        ("type", "Sequence"),
        ("normalizers", .array(Array(repeating: object(("type", "NFC")), count: 65)))),
      subject: "normalizer"),
    Change(
      path: ["pre_tokenizer"], value: object(("type", "UnicodeScripts")), subject: "pre_tokenizer",
      isUnsupported: true),
    Change(
      path: ["pre_tokenizer", "pretokenizers"], value: [split("(a+"), byteLevel],
      subject: "pre_tokenizer.pretokenizers[0].pattern.Regex", isUnsupported: true),
    Change(
      path: ["pre_tokenizer", "pretokenizers"], value: [split("[a&&b]"), byteLevel],
      subject: "pre_tokenizer.pretokenizers[0].pattern.Regex", isUnsupported: true),
    Change(
      path: ["pre_tokenizer", "pretokenizers"], value: [split(#"\p{N}"#, behavior: "Sideways"), byteLevel],
      subject: "pre_tokenizer.pretokenizers[0].behavior", isUnsupported: true),
    Change(path: ["decoder"], value: object(("type", "CTC")), subject: "decoder", isUnsupported: true),
    Change(
      path: ["post_processor"], value: object(("type", "Magic")), subject: "post_processor",
      isUnsupported: true),
    Change(
      path: ["post_processor"], value: object(("type", "BertProcessing")), subject: "post_processor.cls"),
    Change(path: ["post_processor", "single"], value: [], subject: "post_processor.single"),
    Change(path: ["added_tokens"], value: [added(-5, "x")], subject: "added_tokens[0].id"),
    Change(path: ["added_tokens"], value: [added(2, "")], subject: "added_tokens[0].content"),
    Change(path: ["added_tokens"], value: [added(2, "x")], subject: "added_tokens[0].id"),
    Change(path: ["added_tokens"], value: [added(700, "a")], subject: "added_tokens[0].id"),
    Change(
      path: ["added_tokens"], value: [added(700, "x!!"), added(700, "y!!")], subject: "added_tokens[1].id"),
    Change(
      path: ["added_tokens"], value: [added(700, "x!!"), added(701, "x!!")],
      subject: "added_tokens[1].content"),
    Change(path: ["added_tokens"], value: [added(2_000_000_000, "x!!")], subject: "added_tokens"),
    Change(
      path: ["added_tokens"], value: .array(Array(repeating: added(700, "x!!"), count: 100_001)),
      subject: "added_tokens"),
  ]

  @Test("A damaged part is refused by its place", arguments: changes)
  func damagedPart(change: Change) throws {
    let document = try Golden(name: "llama3").document()
    // The template must not be what fails.
    var base = document.objectValue ?? JSONObject()
    base["post_processor"] = change.path[0] == "post_processor" ? base["post_processor"] : JSONValue.null
    let changed = Self.setting(.object(base), change.path[...], change.value)
    let bytes = Array(changed.serialized().utf8)
    let error = try #require(throws: TokenizerError.self) {
      try TokenizerFormat.load(kind: .tokenizerJSON, bytes: bytes, file: "tokenizer.json")
    }
    #expect(error.diagnostic.subject == change.subject)
    #expect(error.diagnostic.status == .badInput)
    #expect(error.diagnostic.file == "tokenizer.json")
    #expect((error.diagnostic.code == "tokenizer.unsupported") == change.isUnsupported)
    #expect(!change.isUnsupported || error.diagnostic.hint != nil)
  }

  private static func setting(_ value: JSONValue, _ path: ArraySlice<String>, _ new: JSONValue) -> JSONValue {
    guard let key = path.first, var object = value.objectValue else { return new }
    object[key] = setting(object[key] ?? .null, path.dropFirst(), new)
    return .object(object)
  }

  @Test("Text that is not JSON is refused")
  func notJSON() {
    for text in ["", "{", "[]", "null", "{\"model\": {}} x", "{\"model\": 1, \"model\": 2}"] {
      #expect(throws: TokenizerError.self) {
        try TokenizerFormat.load(kind: .tokenizerJSON, bytes: Array(text.utf8))
      }
    }
  }

  @Test(
    "Every shortened file and every flipped byte is read or refused",
    arguments: ["llama3", "metaspace-first"])
  func mutations(name: String) throws {
    let bytes = try Golden(name: name).bytes()
    for count in stride(from: 0, to: bytes.count - 1, by: 97) {
      #expect(throws: TokenizerError.self) {
        try TokenizerFormat.load(kind: .tokenizerJSON, bytes: Array(bytes[..<count]))
      }
    }
    let seed: UInt64 = 11
    var generator = SeededGenerator(seed: seed)
    var accepted = 0
    for _ in 0..<300 {
      var changed = bytes
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      changed[place] = UInt8.random(in: 0...255, using: &generator)
      if let tokenizer = try? TokenizerFormat.load(kind: .tokenizerJSON, bytes: changed) {
        accepted += 1
        let text = "The 3 <both> words'll\n\n merge 🙂."
        let ids = try tokenizer.encode(text)
        #expect(ids.allSatisfy { $0 >= 0 && $0 < tokenizer.vocabularyCount }, "seed \(seed), place \(place)")
        _ = tokenizer.decode(ids)
      }
    }
    #expect(accepted > 0 && accepted < 300)
  }

  @Test("Ids out of range decode to nothing")
  func idsOutOfRange() throws {
    for name in Golden.names {
      let tokenizer = try Golden(name: name).tokenizer()
      for id in [Int32.min, -1, Int32(tokenizer.vocabularyCount), Int32.max] {
        #expect(tokenizer.bytes(of: id).isEmpty)
        #expect(tokenizer.token(id) == nil)
        #expect(!tokenizer.isSpecial(id))
      }
      #expect(tokenizer.decode([-1, Int32.max]).isEmpty)
    }
  }

  // MARK: Names that look like bytes

  /// Anchors, hostile input 15: names of bytes that are none are plain text, not places in a table of bytes.
  @Test func byteTokensThatAreNoBytesAreText() throws {
    let odd = ["<0x-1>", "<0x100>", "<0xGG>", "<0x>", "<0x 1>", "<0x+1>", "<0x1>"]
    let names = ["<unk>", "a", "<0x41>"] + odd
    let vocabulary = JSONObject(names.enumerated().map { ($1, JSONValue($0)) })
    let document: JSONValue = [
      "version": "1.0", "added_tokens": [], "normalizer": nil, "pre_tokenizer": nil, "post_processor": nil,
      "decoder": ["type": "Sequence", "decoders": [["type": "ByteFallback"], ["type": "Fuse"]]],
      "model": [
        "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": false,
        "vocab": .object(vocabulary), "merges": [],
      ],
    ]
    let tokenizer = try ConversionTests.load(document)
    #expect(try tokenizer.encode("aA") == [1, 2])
    for (index, name) in odd.enumerated() {
      let id = Int32(index + 3)
      #expect(String(decoding: tokenizer.decode([1, id, 1]).utf8, as: UTF8.self) == "a\(name)a")
      // Spelt out in a text, each character is unknown or a byte; none of them is looked up below zero.
      let ids = try tokenizer.encode(name)
      #expect(!ids.isEmpty && ids.allSatisfy { (0..<Int32(names.count)).contains($0) })
    }
  }

  /// Anchors, hostile input 15: ids of 2^40 wherever a file gives one.
  @Test func idsOfTrillionsAreRefusedEverywhere() throws {
    let huge: JSONValue = 1_099_511_627_776
    let byteLevel = try Golden(name: "llama3").document().objectValue.orFail()
    for (key, value) in [
      ("added_tokens", .array([Self.added(huge, "x!!")])),
      (
        "post_processor",
        [
          "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "s", "type_id": 0]]], "pair": [],
          "special_tokens": ["s": ["id": "s", "ids": [huge], "tokens": ["s"]]],
        ]
      ),
      ("post_processor", ["type": "RobertaProcessing", "sep": ["s", huge], "cls": ["c", 0]]),
      ("post_processor", ["type": "BertProcessing", "sep": ["s", huge], "cls": ["c", 0]]),
    ] as [(String, JSONValue)] {
      var changed = byteLevel
      changed[key] = value
      #expect(throws: TokenizerError.self, "\(value.serialized())") {
        try ConversionTests.load(.object(changed))
      }
    }
    let unigram: JSONValue = [
      "version": "1.0", "added_tokens": [], "normalizer": nil, "pre_tokenizer": nil, "post_processor": nil,
      "decoder": nil,
      "model": ["type": "Unigram", "unk_id": huge, "vocab": [["a", 0]], "byte_fallback": false],
    ]
    #expect(throws: TokenizerError.self) { try ConversionTests.load(unigram) }
  }

  // MARK: What a normalizer takes away

  /// Ids that tokenizers 0.23.3 gives: where the normalizer takes the first character away, what follows does not count as
  /// the start of the text, so that it gets no mark in front.
  static let starts: [(normalizer: JSONValue, ids: [String: [Int32]])] = [
    (nil, ["a": [3], "\u{1}a": [1, 0, 2], " a": [3]]),
    (
      ["type": "Nmt"],
      [
        "a": [3], "\u{1}a": [2], "\u{1}\u{2}ab": [2, 4], "ba": [5, 2], "\u{301}a": [1, 0, 2],
        "\u{1} a": [3], "a\u{1}b": [3, 4],
      ]
    ),
    (
      ["type": "Strip", "strip_left": true, "strip_right": false],
      ["a": [3], " a": [2], "\u{1} a": [1, 0, 3]]
    ), (["type": "StripAccents"], ["\u{301}a": [2], " a": [3]]),
    (
      [
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": false, "strip_accents": nil,
        "lowercase": false,
      ], ["\u{1}a": [2], "\u{1}\u{2}ab": [2, 4], "a\u{1}b": [3, 4]]
    ), (["type": "Replace", "pattern": ["String": "b"], "content": ""], ["ba": [2], "a": [3]]),
    (
      ["type": "Sequence", "normalizers": [["type": "Prepend", "prepend": "x"], ["type": "Nmt"]]],
      ["\u{1}a": [7, 2], "a": [7, 2], "\u{1} a": [7, 3]]
    ),
    (
      ["type": "Sequence", "normalizers": [["type": "Nmt"], ["type": "Prepend", "prepend": "x"]]],
      ["\u{1}a": [6, 2], "a": [7, 2], "\u{1} a": [6, 3]]
    ),
  ]

  @Test(arguments: starts.indices) func whatANormalizerTakesAwayIsNoStart(index: Int) throws {
    let (normalizer, expected) = Self.starts[index]
    let pieces: [JSONValue] = [
      ["<unk>", 0], ["▁", -3], ["a", -2], ["▁a", .number(-1.5)], ["b", .number(-2.5)], ["▁b", .number(-2.2)],
      ["x", -4], ["▁x", .number(-4.5)],
    ]
    let tokenizer = try ConversionTests.load([
      "version": "1.0", "added_tokens": [], "normalizer": normalizer, "post_processor": nil, "decoder": nil,
      "pre_tokenizer": ["type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true],
      "model": ["type": "Unigram", "unk_id": 0, "vocab": .array(pieces), "byte_fallback": false],
    ])
    for (text, ids) in expected {
      #expect(try tokenizer.encode(text) == ids, "\(text.debugDescription)")
    }
  }
}
