import SafeIO
import TestSupport
import Tokenizers

/// What `Goldens/make_goldens.py` made.
struct Golden: Sendable, CustomStringConvertible {
  /// A text and what the reference makes of it.
  struct Case {
    var text: String
    var ids: [Int32]
    var plain: [Int32]
    var literal: [Int32]
    var decoded: String
    var all: String
  }

  /// Every golden.
  static let names = [
    "gpt2", "gpt2-prefix", "llama3", "qwen2", "digits", "metaspace-first", "metaspace-split",
    "metaspace-normalizer",
  ]

  let name: String
  var description: String { name }

  static func path(_ file: String) -> String {
    SharedData.projectRoot + "/Tests/TokenizersTests/Goldens/" + file
  }

  func bytes() throws -> [UInt8] { try FileReading.readAll(Self.path(name + ".tokenizer.json")) }

  func tokenizer() throws -> any Tokenizer {
    try TokenizerFormat.load(kind: .tokenizerJSON, bytes: bytes())
  }

  func document() throws -> JSONValue { try JSONValue.parse(bytes()) }

  func cases() throws -> [Case] {
    try JSONValue.parse(contentsOf: Self.path(name + ".cases.json")).arrayValue.orFail().map { entry in
      Case(
        text: try entry["text"]?.stringValue.orFail() ?? "", ids: Self.ids(entry["ids"]),
        plain: Self.ids(entry["plain"]), literal: Self.ids(entry["literal"]),
        decoded: entry["decoded"]?.stringValue ?? "", all: entry["all"]?.stringValue ?? "")
    }
  }

  static func ids(_ value: JSONValue?) -> [Int32] {
    (value?.arrayValue ?? []).compactMap { $0.intValue.map(Int32.init) }
  }
}

struct MissingValue: Error {}

extension Optional {
  /// The value; a test that lacks it fails.
  func orFail() throws -> Wrapped {
    guard let self else { throw MissingValue() }
    return self
  }
}

/// FNV-1a of the ids as little-endian 32-bit integers, as the golden script computes it.
func hash(_ ids: [Int32]) -> UInt64 {
  var value: UInt64 = 0xCBF2_9CE4_8422_2325
  for id in ids {
    for shift in stride(from: 0, to: 32, by: 8) {
      value = (value ^ UInt64(UInt8(truncatingIfNeeded: id >> Int32(shift)))) &* 0x100_0000_01B3
    }
  }
  return value
}

/// FNV-1a of bytes.
func hash(_ bytes: [UInt8]) -> UInt64 {
  bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
}
