import GGUF
import OrderedCollections
import SafeIO
import TestSupport
import Tokenizers

/// Vocabularies out of GGUF files.
enum GGUFSupport {
  /// The vocabulary of a file.
  static func vocabulary(_ path: String) throws -> GGUFVocabulary {
    let file = try GGUFFile(path: path)
    let entries = file.metadata.lazy.compactMap { key, value in
      Self.value(value).map { (key: key, value: $0) }
    }
    return try GGUFVocabulary(metadata: entries).orFail()
  }

  private static func value(_ value: GGUFValue) -> GGUFVocabulary.MetadataValue? {
    switch value {
    case .string, .bytes: return value.stringValue.map { .string($0) }
    case .bool(let flag): return .flag(flag)
    case .array(let array):
      if let strings = array.strings { return .strings((0..<strings.count).map { strings.bytes(at: $0) }) }
      if let floats = array.floats { return .floats(floats) }
      switch array {
      case .uint8(let bytes): return .bytes(bytes)
      case .int8(let bytes): return .bytes(bytes.map { UInt8(bitPattern: $0) })
      default: return array.integers.map { .integers($0.map { Int32(clamping: $0) }) }
      }
    default: return value.intValue.map { .integer($0) }
    }
  }

  /// The cases of a vocabulary in the shared data: texts, and the ids that they must give.
  static func cases(_ name: String) throws -> [(text: String, ids: [Int32])] {
    let path = SharedData.path("tokenizers/ggml-vocab-" + name + ".gguf")
    let input = String(decoding: try FileReading.readAll(path + ".inp"), as: UTF8.self)
    let output = String(decoding: try FileReading.readAll(path + ".out"), as: UTF8.self)
    let texts = Self.split(Array(input.utf8), by: Array("\n__ggml_vocab_test__\n".utf8))
    let lines = output.split(separator: "\n", omittingEmptySubsequences: false).prefix(texts.count)
    return zip(texts, lines).map { ($0, $1.split(separator: " ").compactMap { Int32($0) }) }
  }

  private static func split(_ text: [UInt8], by separator: [UInt8]) -> [String] {
    var parts: [String] = []
    var start = 0
    var index = 0
    while index + separator.count <= text.count {
      if text[index..<index + separator.count].elementsEqual(separator) {
        parts.append(String(decoding: text[start..<index], as: UTF8.self))
        index += separator.count
        start = index
      } else {
        index += 1
      }
    }
    return parts
  }
}
