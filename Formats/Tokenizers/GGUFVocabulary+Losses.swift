import SafeIO

extension GGUFVocabulary {
  /// What of a `tokenizer.json` is left out where ``init(tokenizerJSON:configuration:sentencePiece:file:)`` takes the rest:
  /// a sentence each for people.
  public static func losses(tokenizerJSON: [UInt8]) -> [String] {
    guard let document = try? JSONValue.parse(tokenizerJSON, file: nil),
      let normalizer = document["normalizer"]
    else { return [] }
    let steps = normalizer["normalizers"]?.arrayValue ?? [normalizer]
    return steps.compactMap { $0["type"]?.stringValue }.filter {
      ["NFC", "NFD", "NFKC", "NFKD"].contains($0)
    }
    .map {
      "the tokenizer's normalizer \($0) is left out, for which GGUF has no place: text that is not in that form becomes other tokens"
    }
  }
}
