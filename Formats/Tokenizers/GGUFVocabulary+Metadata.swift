extension GGUFVocabulary {
  /// A metadata value of a kind that vocabularies use.
  public enum MetadataValue: Sendable, Equatable {
    /// A text.
    case string(String)
    /// Texts.
    case strings([[UInt8]])
    /// Numbers of type float32.
    case floats([Float])
    /// Numbers of type int32.
    case integers([Int32])
    /// Bytes (an array of uint8; int8 in some files).
    case bytes([UInt8])
    /// A number of type uint32.
    case integer(Int)
    /// A truth value.
    case flag(Bool)
  }

  /// The prefix of all keys but those of chat templates.
  public static let keyPrefix = "tokenizer.ggml."
  private static let templateKey = "tokenizer.chat_template"

  /// Takes the entries whose keys begin with `tokenizer.`; others, and kinds of values that a key never has,
  /// are left out. Nil when there is no `tokenizer.ggml.model` or no `tokenizer.ggml.tokens`.
  public init?(metadata: some Sequence<(key: String, value: MetadataValue)>) {
    self.init(model: "", tokens: [])
    var hasModel = false
    var hasTokens = false
    for (key, value) in metadata {
      if key.hasPrefix(Self.templateKey) {
        takeTemplate(key, value)
        continue
      }
      guard key.hasPrefix(Self.keyPrefix) else { continue }
      let name = String(key.dropFirst(Self.keyPrefix.count))
      switch (name, value) {
      case ("model", .string(let text)):
        model = text
        hasModel = true
      case ("tokens", .strings(let list)):
        tokens = list
        hasTokens = true
      default: take(name, value)
      }
    }
    guard hasModel, hasTokens else { return nil }
  }

  private mutating func takeTemplate(_ key: String, _ value: MetadataValue) {
    guard case .string(let text) = value else { return }
    if key == Self.templateKey {
      chatTemplate = text
    } else if key.hasPrefix(Self.templateKey + ".") {
      namedChatTemplates[String(key.dropFirst(Self.templateKey.count + 1))] = text
    }
  }

  private mutating func take(_ name: String, _ value: MetadataValue) {
    switch (name, value) {
    case ("pre", .string(let text)): pre = text
    case ("scores", .floats(let list)): scores = list
    case ("scores", .integers(let list)): scores = list.map(Float.init)
    case ("token_type", .integers(let list)): types = list
    case ("merges", .strings(let list)): merges = list
    case ("precompiled_charsmap", .bytes(let bytes)): charsmap = bytes
    case (_, .integer(let id)): if let id = Int32(exactly: id) { ids[name] = id }
    case (_, .flag(let flag)): flags[name] = flag
    default: return
    }
  }

  /// The entries for a GGUF file, in the order in which such files usually have them.
  public var metadata: [(key: String, value: MetadataValue)] {
    var result: [(key: String, value: MetadataValue)] = []
    func add(_ name: String, _ value: MetadataValue?) {
      if let value { result.append((Self.keyPrefix + name, value)) }
    }
    add("model", .string(model))
    add("pre", pre.map(MetadataValue.string))
    add("tokens", .strings(tokens))
    add("scores", scores.map(MetadataValue.floats))
    add("token_type", types.map(MetadataValue.integers))
    add("merges", merges.map(MetadataValue.strings))
    for (name, id) in ids.sorted(by: { $0.key < $1.key }) { add(name, .integer(Int(id))) }
    for (name, flag) in flags.sorted(by: { $0.key < $1.key }) { add(name, .flag(flag)) }
    add("precompiled_charsmap", charsmap.map(MetadataValue.bytes))
    if let chatTemplate { result.append((Self.templateKey, .string(chatTemplate))) }
    for (name, text) in namedChatTemplates.sorted(by: { $0.key < $1.key }) {
      result.append((Self.templateKey + "." + name, .string(text)))
    }
    return result
  }
}
