import SafeIO
import Testing
import Tokenizers

@Suite("Spellings and options of tokenizer.json")
struct OptionsTests {
  static func load(
    _ document: JSONObject, _ configuration: JSONValue? = nil
  ) throws(TokenizerError) -> any Tokenizer {
    try TokenizerFormat.load(
      kind: .tokenizerJSON, bytes: Array(JSONValue.object(document).serialized().utf8),
      configuration: configuration)
  }

  static func model(_ name: String, _ change: (inout JSONObject) throws -> Void) throws -> JSONObject {
    var document = try Golden(name: name).document().objectValue.orFail()
    var model = try document["model"]?.objectValue.orFail() ?? JSONObject()
    try change(&model)
    document["model"] = .object(model)
    return document
  }

  @Test("Merges as texts are the same as merges as pairs")
  func mergesAsTexts() throws {
    let golden = Golden(name: "gpt2")
    let document = try Self.model(golden.name) { model in
      let pairs = try model["merges"]?.arrayValue.orFail() ?? []
      #expect(pairs.count > 100)
      model["merges"] = .array(
        pairs.map { .string(($0.arrayValue ?? []).compactMap(\.stringValue).joined(separator: " ")) })
      model["type"] = nil
    }
    let tokenizer = try Self.load(document)
    for entry in try golden.cases() { #expect(try tokenizer.encode(entry.text) == entry.ids) }
  }

  @Test("Whole words of the vocabulary need merges, unless these are ignored")
  func ignoreMerges() throws {
    for ignores in [false, true] {
      let document = try Self.model("llama3") { model in
        model["merges"] = []
        model["ignore_merges"] = .bool(ignores)
      }
      let tokenizer = try Self.load(document)
      let id = try tokenizer.id(of: "Ġthe").orFail()
      let ids = try tokenizer.encode(" the", addSpecialTokens: false)
      #expect(ids.count == (ignores ? 1 : 4))
      #expect((ids == [id]) == ignores)
    }
  }

  @Test("Of equal pairs the last counts")
  func equalPairs() throws {
    let pairs: [JSONValue] = [["t", "h"], ["h", "e"], ["t", "h"]]
    let document = try Self.model("gpt2") { $0["merges"] = .array(pairs) }
    let tokenizer = try Self.load(document)
    #expect(try tokenizer.encode("the").compactMap { tokenizer.token($0) } == ["t", "he"])
  }

  @Test("A vocabulary may have gaps, and unknown symbols are dropped or the unknown token")
  func gapsAndUnknown() throws {
    for (unknown, expected) in [(nil, ["a", "b"]), ("?", ["a", "?", "b"])] as [(String?, [String])] {
      let document = try Self.model("gpt2") { model in
        model["vocab"] = ["a": 5, "b": 600, "?": 7]
        model["merges"] = []
        model["unk_token"] = unknown.map { .string($0) } ?? .null
        model["fuse_unk"] = true
      }
      var bare = document
      bare["added_tokens"] = .array([])
      let tokenizer = try Self.load(bare)
      #expect(tokenizer.vocabularyCount == 601)
      #expect(tokenizer.token(6) == nil && tokenizer.bytes(of: 6).isEmpty)
      #expect(try tokenizer.encode("axyb").compactMap { tokenizer.token($0) } == expected)
    }
  }

  @Test("The ends of a sequence: by configuration, by template, by customary names")
  func sequenceEnds() throws {
    let llama3 = try Golden(name: "llama3").document().objectValue.orFail()
    let plain = try Self.load(llama3)
    #expect(plain.beginOfSequence == 0 && plain.endOfSequence == 1)
    let byID = try Self.load(llama3, ["bos_token_id": 5, "eos_token_id": [6, 7]])
    #expect(byID.beginOfSequence == 5 && byID.endOfSequence == 6)
    let byName = try Self.load(llama3, ["bos_token": "<pad>", "eos_token": ["content": "<|begin_of_text|>"]])
    #expect(byName.beginOfSequence == byName.id(of: "<pad>") && byName.endOfSequence == 0)
    let outside = try Self.load(llama3, ["bos_token_id": -1, "eos_token_id": 99_999_999_999])
    #expect(outside.beginOfSequence == 0 && outside.endOfSequence == 1)
    let metaspace = try Golden(name: "metaspace-first").tokenizer()
    #expect(metaspace.beginOfSequence == 1 && metaspace.endOfSequence == 2)
  }

  @Test("Special tokens are text unless they are parsed")
  func parsingSpecialTokens() throws {
    let tokenizer = try Golden(name: "llama3").tokenizer()
    let text = Array("a<|end_of_text|>".utf8)
    let parsed = try tokenizer.encode(text, addSpecialTokens: false, parseSpecialTokens: true)
    let literal = try tokenizer.encode(text, addSpecialTokens: false, parseSpecialTokens: false)
    #expect(parsed.last == 1 && parsed.count == 2)
    #expect(!literal.contains(1) && tokenizer.bytes(of: literal) == text)
    #expect(tokenizer.decode(parsed) == "a")
    #expect(tokenizer.decode(parsed, skipSpecialTokens: false) == "a<|end_of_text|>")
    #expect(tokenizer.bytes(of: 1).isEmpty && tokenizer.isSpecial(1))
  }

  @Test("An added token that is normalized is looked for as normalization leaves it")
  func normalizedAddedToken() throws {
    var document = try Golden(name: "llama3").document().objectValue.orFail()
    document["normalizer"] = ["type": "Lowercase"]
    let token = JSONObject([("id", 700), ("content", "<X>"), ("normalized", true)])
    document["added_tokens"] = .array([.object(token)])
    document["post_processor"] = JSONValue.null
    let tokenizer = try Self.load(document)
    #expect(try tokenizer.encode("<x><X>") == [700, 700])
  }
}
