import SafeIO
import TestSupport
import Testing
import Tokenizers

@Suite("llama2.c vocabularies")
struct Llama2CTests {
  /// A vocabulary file of the pieces after the bytes.
  static func file(_ pieces: [(String, Float)]) -> [UInt8] {
    let digits = Array("0123456789ABCDEF")
    var entries: [(String, Float)] = [("<unk>", 0), ("\n<s>\n", 0), ("\n</s>\n", 0)]
    for byte in 0..<256 { entries.append(("<0x\(digits[byte / 16])\(digits[byte % 16])>", 0)) }
    entries += pieces
    var bytes = little(Int32(entries.map(\.0.utf8.count).max() ?? 0))
    for (piece, score) in entries {
      bytes += little(score.bitPattern) + little(Int32(piece.utf8.count)) + Array(piece.utf8)
    }
    return bytes
  }

  static func little(_ value: some FixedWidthInteger) -> [UInt8] {
    (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  /// Letters, and random strings of them with scores of which some are equal.
  static func randomVocabulary(_ generator: inout SeededGenerator) -> [(String, Float)] {
    var pieces: [(String, Float)] = [" ", "a", "b", "c", "é"].map { ($0, -1000) }
    var seen = Set(pieces.map(\.0))
    for _ in 0..<40 {
      let text = (0..<Int.random(in: 2...5, using: &generator)).map { _ in
        ["a", "b", "c", " ", "é"][Int.random(in: 0..<5, using: &generator)]
      }.joined()
      if seen.insert(text).inserted {
        pieces.append((text, Float(Int.random(in: -12...3, using: &generator))))
      }
    }
    return pieces
  }

  /// The algorithm as `run.c` has it, with its search for the best pair in every step.
  static func slowEncode(_ text: String, _ pieces: [(String, Float)]) -> [Int32] {
    var ids: [String: Int] = [:]
    for (index, piece) in pieces.enumerated() where ids[piece.0] == nil { ids[piece.0] = index + 259 }
    var tokens: [(text: String, id: Int)] = []
    for scalar in (text.isEmpty ? "" : " " + text).unicodeScalars {
      let text = String(scalar)
      if let id = ids[text] {
        tokens.append((text, id))
      } else {
        tokens += text.utf8.map { ("<byte>", Int($0) + 3) }
      }
    }
    while true {
      var best: (score: Float, index: Int)?
      for index in 0..<max(tokens.count - 1, 0) {
        guard let id = ids[tokens[index].text + tokens[index + 1].text] else { continue }
        let score = pieces[id - 259].1
        if score > best?.score ?? -1e10 { best = (score, index) }
      }
      guard let best else { return tokens.map { Int32($0.id) } }
      let text = tokens[best.index].text + tokens[best.index + 1].text
      tokens[best.index] = (text, ids[text] ?? -1)
      tokens.remove(at: best.index + 1)
    }
  }

  @Test("Ids equal those of the repeated search")
  func differential() throws {
    let seed: UInt64 = 17
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<40 {
      let pieces = Self.randomVocabulary(&generator)
      let tokenizer = try TokenizerFormat.load(kind: .llama2c, bytes: Self.file(pieces))
      for _ in 0..<20 {
        let text = (0..<Int.random(in: 0..<90, using: &generator)).map { _ in
          ["a", "b", "c", " ", "é", "ab", "x", "🙂"][Int.random(in: 0..<8, using: &generator)]
        }.joined()
        let ids = try tokenizer.encode(text)
        #expect(ids == [1] + Self.slowEncode(text, pieces), "seed \(seed): \(text)")
        #expect(tokenizer.decode(ids) == text, "seed \(seed)")
        var decoder = StreamingDecoder(tokenizer)
        #expect(ids.map { decoder.append($0) }.joined() + decoder.finish() == text)
      }
    }
  }

  @Test("Special tokens, names and bytes")
  func vocabulary() throws {
    let tokenizer = try TokenizerFormat.load(kind: .llama2c, bytes: Self.file([(" ", 0), ("ab", -1)]))
    #expect(tokenizer.vocabularyCount == 261)
    #expect(tokenizer.beginOfSequence == 1 && tokenizer.endOfSequence == 2)
    #expect(try tokenizer.encode("") == [1])
    #expect(try tokenizer.encode("", addSpecialTokens: false) == [])
    #expect(try tokenizer.encode("a") == [1, 259, 3 + 97])
    #expect(tokenizer.bytes(of: 3 + 97) == [97])
    #expect(tokenizer.bytes(of: 1).isEmpty && tokenizer.isSpecial(1))
    #expect(tokenizer.token(260) == "ab" && tokenizer.id(of: "ab") == 260)
    #expect(tokenizer.bytes(of: 261).isEmpty && tokenizer.bytes(of: -1).isEmpty && tokenizer.token(-1) == nil)
    #expect(tokenizer.decode([1, 259, 100]) == "a")
    #expect(tokenizer.decode([259, 100]) == " a")
    #expect(TokenizerFormat.recognize(Self.file([])) == .llama2c)
    #expect(TokenizerFormat.recognize(Array(" {}".utf8)) == .tokenizerJSON)
    #expect(TokenizerFormat.recognize([]) == nil && TokenizerFormat.recognize([1, 2, 3, 4, 5]) == nil)
  }

  @Test("A megabyte of one letter is linear")
  func longText() throws {
    let tokenizer = try TokenizerFormat.load(
      kind: .llama2c, bytes: Self.file([(" ", -9), ("a", -9), ("aa", -1), ("aaaa", -2), (" a", -3)]))
    let ids = try tokenizer.encode(String(repeating: "a", count: 1_000_001))
    #expect(ids.count == 250_003)
    #expect(
      try tokenizer.encode(
        [UInt8](repeating: 0xFF, count: 100), addSpecialTokens: false, parseSpecialTokens: false
      ).count == 301)
  }

  @Test("Damaged files are refused")
  func damaged() {
    let good = Self.file([(" ", 0), ("ab", -1)])
    var broken: [[UInt8]] = [[], [1, 0, 0], Self.little(Int32(7))]
    for count in stride(from: 4, to: good.count, by: 5) where count % 14 != 4 || count < 100 {
      broken.append(Array(good[..<count]))
    }
    broken.append(Self.little(Int32(5)) + good[4...])  // a piece is longer than the longest
    broken.append(good[..<8] + Self.little(Int32(-1)) + good[12...])
    broken.append(good[..<8] + Self.little(Int32.max) + good[12...])
    broken.append(good[..<4] + Self.little(Float.nan.bitPattern) + good[8...])
    broken.append(Self.file([("a", .nan)]))
    broken.append(Self.file([(String(repeating: "a", count: 600), 0)]))
    if let place = good.firstIndex(of: UInt8(ascii: "x")) {
      broken.append(good[..<place] + [UInt8(ascii: "-")] + good[(place + 1)...])
    }
    for bytes in broken {
      #expect(throws: TokenizerError.self) { try TokenizerFormat.load(kind: .llama2c, bytes: bytes) }
    }
  }

  @Test(
    "The reference model's text", .enabled(if: SharedData.isAvailable, "needs the reference data"))
  func referenceText() throws {
    let tokenizer = try TokenizerFormat.load(
      kind: .llama2c, bytes: FileReading.readAll(SharedData.path("models/stories260K/tok512.bin")))
    #expect(tokenizer.vocabularyCount == 512)
    let reference = try JSONValue.parse(
      contentsOf: SharedData.path("models/stories260K/greedy_reference.json"))
    let ids = Golden.ids(reference["greedy"])
    let text = try #require(reference["text"]?.stringValue)
    #expect(ids.count == 257)
    // The reference text was put together from single pieces, with the space in front.
    #expect(tokenizer.decode(Array(ids.dropFirst())) == text)
    #expect(tokenizer.decode(ids) == String(text.dropFirst()))
    #expect(try tokenizer.encode(String(text.dropFirst())) == ids)
  }
}
