import SafeIO
import TestSupport
import Testing
import Tokenizers

@Suite("Goldens of the reference implementation")
struct GoldenTests {
  @Test("Ids equal the reference's", arguments: Golden.names)
  func ids(name: String) throws {
    let golden = Golden(name: name)
    let tokenizer = try golden.tokenizer()
    let cases = try golden.cases()
    #expect(cases.count > 60)
    for entry in cases {
      let text = Array(entry.text.utf8)
      #expect(
        try tokenizer.encode(text, addSpecialTokens: true, parseSpecialTokens: true) == entry.ids,
        "\(entry.text)"
      )
      #expect(
        try tokenizer.encode(text, addSpecialTokens: false, parseSpecialTokens: true) == entry.plain,
        "\(entry.text)")
      #expect(
        try tokenizer.encode(text, addSpecialTokens: false, parseSpecialTokens: false) == entry.literal,
        "\(entry.text)")
    }
  }

  @Test("Decoding equals the reference's", arguments: Golden.names)
  func decoding(name: String) throws {
    let golden = Golden(name: name)
    let tokenizer = try golden.tokenizer()
    for entry in try golden.cases() {
      #expect(tokenizer.decode(entry.ids) == entry.decoded, "\(entry.text)")
      #expect(tokenizer.decode(entry.ids, skipSpecialTokens: false) == entry.all, "\(entry.text)")
    }
  }

  @Test("Streaming gives the same text, in whole scalars", arguments: Golden.names)
  func streaming(name: String) throws {
    let golden = Golden(name: name)
    let tokenizer = try golden.tokenizer()
    for entry in try golden.cases() {
      for skips in [true, false] {
        var decoder = StreamingDecoder(tokenizer, skipSpecialTokens: skips)
        var text = ""
        for id in entry.ids { text += decoder.append(id) }
        text += decoder.finish()
        #expect(text == (skips ? entry.decoded : entry.all))
      }
    }
  }

  /// Counts and hashes by `make_goldens.py counts` (tokenizers 0.23.3) of the whole files without special
  /// tokens.
  @Test(
    "Whole corpora equal the reference's", .enabled(if: SharedData.isAvailable, "needs the reference data"),
    arguments: [
      ("models/acorn", "encyclopedia.calibration.txt", 384_023, 0xBA98_DAD1_3CC1_27E3 as UInt64),
      ("models/acorn", "encyclopedia.test.txt", 167_694, 0x933C_F228_2F76_CC3C),
      ("models/acorn", "fiction.test.txt", 112_188, 0x448D_2020_E04B_F70B),
      ("models/acorn", "wikitext-2.test.raw", 419_766, 0x8373_2073_0134_24AB),
      ("models/birch", "encyclopedia.test.txt", 134_415, 0x3119_56B3_A0A0_60C7),
      ("fixtures/llama-tiny", "encyclopedia.test.txt", 328_596, 0x8B58_E030_9112_58EE),
    ])
  func corpora(model: String, corpus: String, count: Int, expected: UInt64) throws {
    let tokenizer = try TokenizerFormat.load(
      kind: .tokenizerJSON, bytes: FileReading.readAll(SharedData.path(model + "/tokenizer.json")))
    let text = try FileReading.readAll(SharedData.path("corpora/" + corpus))
    let ids = try tokenizer.encode(text, addSpecialTokens: false, parseSpecialTokens: true)
    #expect(ids.count == count)
    #expect(hash(ids) == expected)
    let withSpecial = try tokenizer.encode(text, addSpecialTokens: true, parseSpecialTokens: true)
    #expect(withSpecial.first == tokenizer.beginOfSequence)
    #expect(Array(withSpecial.dropFirst()) == ids)
    #expect(tokenizer.bytes(of: ids) == text)
  }
}
