/// From llama2.c's `tokenizer.bin`.
extension GGUFVocabulary {
  /// Says in GGUF's terms what a vocabulary of llama2.c says: `llama` with the same scores. Spaces of pieces become
  /// U+2581, and the special tokens get their customary names without the line feeds that the program prints.
  ///
  /// - Parameters:
  ///   - llama2c: the file's bytes.
  ///   - file: the name for errors.
  /// - Throws: ``TokenizerError`` for what is damaged.
  public init(llama2c bytes: [UInt8], file: String? = nil) throws(TokenizerError) {
    let tokenizer = try Llama2CTokenizer(parsing: bytes, file: file)
    let entries = try Llama2CTokenizer.entries(of: bytes, file: file)
    let special = ["<unk>", "<s>", "</s>"]
    var types = Array(repeating: TokenType.normal, count: entries.count)
    var tokens: [[UInt8]] = []
    for (id, entry) in entries.enumerated() {
      if id < special.count {
        tokens.append(Array(special[id].utf8))
        types[id] = id == 0 ? .unknown : .control
      } else if Metaspace.byte(of: entry.piece) != nil {
        tokens.append(entry.piece)
        types[id] = .byte
      } else {
        tokens.append(entry.piece.flatMap { $0 == 0x20 ? Metaspace.mark : [$0] })
      }
    }
    self.init(
      model: "llama", pre: "default", tokens: tokens, scores: entries.map(\.score),
      types: types.map(\.rawValue),
      flags: ["add_bos_token": true, "add_eos_token": false, "add_space_prefix": true])
    ids["unknown_token_id"] = 0
    ids["bos_token_id"] = tokenizer.beginOfSequence
    ids["eos_token_id"] = tokenizer.endOfSequence
  }
}
