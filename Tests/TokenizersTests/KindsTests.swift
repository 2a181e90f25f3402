import Glibc
import SafeIO
import TensorCore
import TestSupport
import Testing
import Tokenizers

/// A kind of tokenizer of `Goldens/make_kinds.py`.
struct Kind: Sendable, CustomTestStringConvertible {
  var name: String
  var document: JSONValue
  var testDescription: String { name }

  /// The texts and the kinds of a file.
  static func all(_ path: String) throws -> (texts: [String], kinds: [Kind]) {
    let root = try JSONValue.parse(contentsOf: path)
    let kinds = try root["kinds"]?.arrayValue.orFail() ?? []
    return (
      root["texts"]?.arrayValue?.compactMap(\.stringValue) ?? [],
      kinds.map { Kind(name: $0["name"]?.stringValue ?? "", document: $0) }
    )
  }

  static let goldens: (texts: [String], kinds: [Kind]) = (try? all(Golden.path("kinds.json"))) ?? ([], [])

  static func vector(_ file: String) -> String {
    SharedData.projectRoot + "/Formats/Tokenizers/Vectors/" + file
  }

  func tokenizer() throws -> any Tokenizer {
    if let model = document["model"]?.stringValue {
      return try TokenizerFormat.load(kind: .sentencePiece, bytes: FileReading.readAll(Self.vector(model)))
    }
    let base = try document["base"]?.stringValue.orFail() ?? ""
    var file = try JSONValue.parse(contentsOf: Self.vector("\(base).tokenizer.json")).objectValue
      .orFail()
    for (key, value) in document["parts"]?.objectValue ?? JSONObject() { file[key] = value }
    return try TokenizerFormat.load(
      kind: .tokenizerJSON, bytes: Array(JSONValue.object(file).serialized().utf8))
  }

  /// SentencePiece adds nothing around a text and finds no special tokens in it.
  var isDocument: Bool { document["model"] == nil }
}

@Suite("Goldens of every kind of part")
struct KindsTests {
  @Test("Ids and texts equal the reference's", arguments: Kind.goldens.kinds)
  func goldens(kind: Kind) throws {
    let tokenizer = try kind.tokenizer()
    let texts = Kind.goldens.texts
    let cases = Array(try kind.document["cases"]?.stringValue.orFail().utf8 ?? "".utf8)
    #expect(texts.count > 90 && cases.count == texts.count * 10)
    for (index, text) in texts.enumerated() {
      let expected = String(decoding: cases[(index * 10)..<(index * 10 + 10)], as: UTF8.self)
      let ids = try tokenizer.encode(
        text, addSpecialTokens: kind.isDocument, parseSpecialTokens: kind.isDocument)
      #expect(Self.digits(hash(ids), 6) == expected.prefix(6), "ids of \(text.debugDescription)")
      if !expected.hasSuffix("----") {
        let decoded = tokenizer.decode(ids)
        #expect(
          Self.digits(hash(Array(decoded.utf8)), 4) == expected.suffix(4), "text of \(text.debugDescription)")
      }
    }
  }

  static let hostileFiles = [
    "truncated.model", "long-field.model", "endless-integer.model", "nan-score.model", "unknown-type.model",
    "id-out-of-range.model", "characters.model", "wrong-wire-type.model", "group.model", "rules-bomb.model",
    "rules-short.model", "nan-score.gguf.json", "few-scores.gguf.json", "few-types.gguf.json",
    "no-tokens.gguf.json", "unknown-model.gguf.json", "unknown-pre.gguf.json", "no-merges.gguf.json",
    "bad-merge.gguf.json", "bad-hex.gguf.json", "bad-rules.gguf.json", "long-piece.gguf.json",
  ]

  @Test("Hostile vectors are refused", arguments: hostileFiles)
  func hostile(file: String) throws {
    let bytes = try FileReading.readAll(Kind.vector("hostile/" + file))
    let error = try #require(throws: TokenizerError.self) {
      try TokenizerFormat.load(
        kind: file.hasSuffix(".model") ? .sentencePiece : .gguf, bytes: bytes, file: file)
    }
    #expect(error.diagnostic.status == .badInput && error.diagnostic.file == file)
  }

  private static func digits(_ value: UInt64, _ count: Int) -> Substring {
    let text = String(value, radix: 16)
    return (String(repeating: "0", count: 16 - text.count) + text).prefix(count)
  }

  private static let fuzzFile: String? = unsafe getenv("ADZE_TOKENIZER_FUZZ").map {
    unsafe String(cString: $0)
  }

  /// For tests by hand: `make_kinds.py fuzz COUNT SEED > FILE`.
  @Test(
    "Random texts equal the reference's",
    .enabled(if: fuzzFile != nil, "needs the file of ADZE_TOKENIZER_FUZZ"))
  func fuzz() throws {
    let (texts, kinds) = try Kind.all(Self.fuzzFile ?? "")
    for kind in kinds {
      let tokenizer = try kind.tokenizer()
      for (text, entry) in zip(texts, kind.document["cases"]?.arrayValue ?? []) {
        let ids = Golden.ids(entry.arrayValue?[0])
        #expect(
          try tokenizer.encode(text, addSpecialTokens: kind.isDocument, parseSpecialTokens: kind.isDocument)
            == ids,
          "\(kind.name): \(text.debugDescription)")
        if let decoded = entry.arrayValue?[1].stringValue {
          #expect(tokenizer.decode(ids) == decoded, "\(kind.name): decoding \(text.debugDescription)")
        }
      }
    }
  }
}
