import SafeIO
import TensorCore
import TestSupport
import Testing
import Tokenizers

@Suite("Files that ask for much")
struct BombTests {
  static func tokenizer(
    pattern: String? = nil, normalizer: JSONValue = .null
  ) throws -> any Tokenizer {
    var document = try Golden(name: "qwen2").document().objectValue.orFail()
    document["normalizer"] = normalizer
    if let pattern {
      document["pre_tokenizer"] = [
        "type": "Sequence",
        "pretokenizers": [
          ["type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated", "invert": false],
          ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
        ],
      ]
    }
    return try ConversionTests.load(.object(document))
  }

  @Test(
    "An expression that takes exponential or quadratic time is stopped by name",
    arguments: ["(a+)+$", "(a|a)+$", "(a|aa)+$", "(.*)*x", "a*a*a*a*a*b", "(?:a+)+(?!a)b"])
  func expressionBombs(pattern: String) throws {
    let tokenizer = try Self.tokenizer(pattern: pattern)
    #expect(!(try tokenizer.encode("short text")).isEmpty)
    let error = try #require(throws: TokenizerError.self) {
      try tokenizer.encode(String(repeating: "a", count: 10_000) + "!")
    }
    #expect(error == .matchLimit(pattern: pattern))
    #expect(error.diagnostic.subject == pattern)
  }

  @Test("An expression without a scanner runs over a long text")
  func longExpressionText() throws {
    let tokenizer = try Self.tokenizer(pattern: #"[a-z]+|\S|\s+"#)
    let text = String(repeating: "the quick brown fox, 12 ", count: 20_000)
    #expect(tokenizer.decode(try tokenizer.encode(text, addSpecialTokens: false)) == text)
  }

  @Test("Normalizers cannot make a text grow without bound")
  func normalizerBomb() throws {
    let step: JSONValue = ["type": "Replace", "pattern": ["String": "a"], "content": "aa"]
    let tokenizer = try Self.tokenizer(
      normalizer: ["type": "Sequence", "normalizers": .array(Array(repeating: step, count: 64))])
    #expect(!(try tokenizer.encode("b")).isEmpty)
    #expect(throws: TokenizerError.self) { try tokenizer.encode(String(repeating: "a", count: 1000)) }
  }

  @Test("A trie of rules that leads back to itself is walked for a bounded stretch")
  func cyclicRules() throws {
    // Every unit: label a, offset 0 with the root's offset 0x61 apart, so that a leads to a again.
    var units = Array(repeating: UInt32(0x61), count: 256)
    units[0] = 0
    var bytes: [UInt8] = []
    for value in [UInt32(units.count * 4)] + units {
      for shift in [0, 8, 16, 24] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
    let vocabulary = GGUFVocabulary(
      model: "t5", tokens: [Array("</s>".utf8), Array("<unk>".utf8), Array("a".utf8)], scores: [0, 0, -1],
      types: [3, 2, 1], ids: ["eos_token_id": 0, "unknown_token_id": 1], charsmap: bytes + [0])
    let tokenizer = try TokenizerFormat.load(vocabulary: vocabulary)
    let ids = try tokenizer.encode(String(repeating: "a", count: 200_000))
    #expect(ids.count == 200_001)
  }

  @Test("Unigram takes steps in proportion to the text")
  func unigramSteps() throws {
    var tokens = ["<unk>", "</s>"].map { Array($0.utf8) }
    for length in 1...64 { tokens.append(Array(repeating: 0x61, count: length)) }
    let vocabulary = GGUFVocabulary(
      model: "t5", tokens: tokens, scores: tokens.map { -Float($0.count) }, ids: ["unknown_token_id": 0])
    let tokenizer = try TokenizerFormat.load(vocabulary: vocabulary)
    func steps(_ count: Int) -> Int {
      TokenizerInternals.mergeStepCount(tokenizer, Array(repeating: 0x61, count: count))
    }
    let small = steps(10_000)
    #expect(small > 0 && steps(80_000) < small * 9)
  }

  @Test("Pieces of one letter have as many merges as bytes, and merge in n log n steps")
  func mergeBomb() throws {
    var tokens = ["<unk>", "<s>", "</s>"].map { Array($0.utf8) }
    for length in 1...400 { tokens.append(Array(repeating: 0x61, count: length)) }
    let vocabulary = GGUFVocabulary(
      model: "llama", tokens: tokens, scores: tokens.map { Float($0.count) },
      flags: ["add_space_prefix": false])
    let tokenizer = try TokenizerFormat.load(vocabulary: vocabulary)
    func steps(_ count: Int) -> Int {
      TokenizerInternals.mergeStepCount(tokenizer, Array(repeating: 0x61, count: count))
    }
    let small = steps(20_000)
    #expect(small > 0 && steps(160_000) < small * 14)
    let ids = try tokenizer.encode(String(repeating: "a", count: 1000), addSpecialTokens: false)
    #expect(tokenizer.decode(ids) == String(repeating: "a", count: 1000))
  }

  @Test("A merge whose result is no token ends as its symbols")
  func mergesWithoutResult() throws {
    let tokens = ["a", "b", "ab", "abc", "c"].map { Array($0.utf8) }
    let vocabulary = GGUFVocabulary(
      model: "gpt2", pre: "gpt-2", tokens: tokens,
      merges: ["b c", "a b", "ab ab", "x y"].map { Array($0.utf8) })
    let tokenizer = try TokenizerFormat.load(vocabulary: vocabulary)
    #expect(try tokenizer.encode("abc", addSpecialTokens: false) == [0, 1, 4])
    #expect(try tokenizer.encode("abab", addSpecialTokens: false) == [0, 1, 0, 1])
  }
}
