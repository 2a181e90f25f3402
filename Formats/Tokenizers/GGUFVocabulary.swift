import SafeIO

/// A vocabulary as GGUF metadata describes it (`tokenizer.*` keys), without the file around it.
///
/// Values are as the file has them; they are checked when a tokenizer is made of them
/// (``TokenizerFormat/load(vocabulary:file:)``). ``canonicalJSON`` is what a packed file carries.
public struct GGUFVocabulary: Sendable, Equatable {
  /// What a token is (`tokenizer.ggml.token_type`).
  public enum TokenType: Int32, Sendable, CaseIterable {
    /// Text.
    case normal = 1
    /// Stands for what the vocabulary lacks.
    case unknown = 2
    /// Controls the model; no text.
    case control = 3
    /// Looked for in the text before anything else.
    case userDefined = 4
    /// Never used.
    case unused = 5
    /// One byte, `<0xNN>`.
    case byte = 6
  }

  /// `tokenizer.ggml.model`: `llama` (SentencePiece BPE), `gpt2` (byte-level BPE), `t5` (unigram), `bert`
  /// (WordPiece), ...
  public var model: String
  /// `tokenizer.ggml.pre`: the name of the way text is split before byte-level BPE.
  public var pre: String?
  /// `tokenizer.ggml.tokens`: the tokens by id.
  public var tokens: [[UInt8]]
  /// `tokenizer.ggml.scores`, one a token, or nil.
  public var scores: [Float]?
  /// `tokenizer.ggml.token_type`, one a token, or nil; values of ``TokenType``.
  public var types: [Int32]?
  /// `tokenizer.ggml.merges`: two tokens with a space between them, in the order in which they merge, or nil.
  public var merges: [[UInt8]]?
  /// Ids of special tokens by key without `tokenizer.ggml.`: `bos_token_id`, `eos_token_id`,
  /// `unknown_token_id`, `padding_token_id`, `eot_token_id`, ...
  public var ids: [String: Int32]
  /// Switches by key without `tokenizer.ggml.`: `add_bos_token`, `add_eos_token`, `add_space_prefix`,
  /// `remove_extra_whitespaces`, ...
  public var flags: [String: Bool]
  /// `tokenizer.ggml.precompiled_charsmap`: SentencePiece's normalization rules.
  public var charsmap: [UInt8]?
  /// `tokenizer.chat_template`.
  public var chatTemplate: String?
  /// `tokenizer.chat_template.<name>` by name.
  public var namedChatTemplates: [String: String]

  /// Takes the values.
  public init(
    model: String, pre: String? = nil, tokens: [[UInt8]], scores: [Float]? = nil, types: [Int32]? = nil,
    merges: [[UInt8]]? = nil, ids: [String: Int32] = [:], flags: [String: Bool] = [:],
    charsmap: [UInt8]? = nil, chatTemplate: String? = nil, namedChatTemplates: [String: String] = [:]
  ) {
    self.model = model
    self.pre = pre
    self.tokens = tokens
    self.scores = scores
    self.types = types
    self.merges = merges
    self.ids = ids
    self.flags = flags
    self.charsmap = charsmap
    self.chatTemplate = chatTemplate
    self.namedChatTemplates = namedChatTemplates
  }

  /// The type of a token; normal when the file says nothing.
  public func type(_ id: Int) -> TokenType {
    guard let types, types.indices.contains(id) else { return .normal }
    return TokenType(rawValue: types[id]) ?? .normal
  }

  /// The token of an id, with what is not UTF-8 replaced.
  func text(_ id: Int) -> String { String(decoding: tokens[id], as: UTF8.self) }
}
