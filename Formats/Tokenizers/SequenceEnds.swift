import SafeIO

/// Which tokens begin and end a sequence.
///
/// By the configuration if it says so (ids or names); else the first token of the template, and customary
/// names among the special tokens.
struct SequenceEnds {
  /// The token at the beginning.
  var begin: Int32?
  /// The token at the end.
  var end: Int32?

  private static let customaryBegins = ["<|begin_of_text|>", "<s>", "<bos>", "<|startoftext|>"]
  private static let customaryEnds = [
    "<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>",
  ]

  /// Looks them up.
  init(_ tokenizer: PipelineTokenizer, configuration: JSONValue?) {
    begin =
      Self.configured(configuration, "bos", tokenizer) ?? tokenizer.prefix.first
      ?? Self.customary(Self.customaryBegins, tokenizer)
    end = Self.configured(configuration, "eos", tokenizer) ?? Self.customary(Self.customaryEnds, tokenizer)
  }

  private static func customary(_ names: [String], _ tokenizer: PipelineTokenizer) -> Int32? {
    names.lazy.compactMap { tokenizer.id(of: $0) }.first { tokenizer.isSpecial($0) }
  }

  private static func configured(
    _ configuration: JSONValue?, _ key: String, _ tokenizer: PipelineTokenizer
  ) -> Int32? {
    if let value = configuration?["\(key)_token_id"] {
      let id = value.intValue ?? value.arrayValue?.first?.intValue
      if let id, id >= 0, id < tokenizer.vocabularyCount { return Int32(id) }
    }
    guard let value = configuration?["\(key)_token"] else { return nil }
    guard let name = value.stringValue ?? value["content"]?.stringValue else { return nil }
    return tokenizer.id(of: name)
  }
}
