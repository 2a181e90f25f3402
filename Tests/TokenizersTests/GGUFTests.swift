import SafeIO
import TestSupport
import Testing
import Tokenizers

@Suite("Vocabularies of GGUF files", .enabled(if: SharedData.isAvailable, "needs the reference data"))
struct GGUFTests {
  @Test("Ids equal those of the test files", arguments: ["llama-spm", "phi-3", "gpt-2", "starcoder"])
  func vectors(name: String) throws {
    let vocabulary = try GGUFSupport.vocabulary(SharedData.path("tokenizers/ggml-vocab-\(name).gguf"))
    let tokenizer = try TokenizerFormat.load(vocabulary: vocabulary)
    let cases = try GGUFSupport.cases(name)
    #expect(cases.count > 40)
    for (text, ids) in cases {
      #expect(
        try tokenizer.encode(text, addSpecialTokens: false, parseSpecialTokens: false) == ids,
        "\(text.debugDescription)")
      #expect(tokenizer.decode(ids) == text, "\(text.debugDescription)")
    }
    let again = try TokenizerFormat.load(kind: .gguf, bytes: vocabulary.canonicalJSON)
    #expect(try GGUFVocabulary(parsingJSON: vocabulary.canonicalJSON) == vocabulary)
    for (text, ids) in cases {
      #expect(try again.encode(text, addSpecialTokens: false, parseSpecialTokens: false) == ids)
    }
  }

  @Test("One vocabulary as tokenizer.json, as tokenizer.model and in GGUF")
  func threeForms() throws {
    let directory = "fixtures/llama-tiny/"
    let json = try TokenizerFormat.load(
      kind: .tokenizerJSON, bytes: FileReading.readAll(SharedData.path(directory + "tokenizer.json")))
    let model = try TokenizerFormat.load(
      kind: .sentencePiece, bytes: FileReading.readAll(SharedData.path(directory + "tokenizer.model")))
    let gguf = try TokenizerFormat.load(
      vocabulary: GGUFSupport.vocabulary(SharedData.path("fixtures/llama-tiny-f16.gguf")))
    #expect(json.vocabularyCount == model.vocabularyCount && json.vocabularyCount == gguf.vocabularyCount)
    let text = String(
      decoding: try FileReading.readAll(SharedData.path("corpora/encyclopedia.test.txt")).prefix(100_000),
      as: UTF8.self)
    // A space at the start gets no other one before it in this tokenizer.json, but in the two other forms.
    var texts = text.split(separator: "\n").filter { !$0.hasPrefix(" ") }.map(String.init)
    texts += ["", "a", "héllo wörld", "日本語 テキスト", "🙂👍🏽", "tab\tand  spaces", "x\u{0}y", "don't", "1234567"]
    for text in texts {
      let expected = try json.encode(text)
      #expect(try model.encode(text) == expected, "\(text)")
      #expect(try gguf.encode(text) == expected, "\(text)")
      #expect(gguf.decode(expected) == json.decode(expected))
      #expect(model.decode(expected) == json.decode(expected))
    }
  }
}
