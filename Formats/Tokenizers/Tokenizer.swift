/// Turns text into token ids and back.
///
/// Encoding takes time that grows linearly with the text (times a logarithm for a single long word), whatever
/// the text holds. Bytes that are not UTF-8 are read as U+FFFD, one for each maximal part that begins no
/// scalar, as `String(decoding:as:)` does.
public protocol Tokenizer: Sendable {
  /// Largest id + 1; ids below it may be unused.
  var vocabularyCount: Int { get }
  /// The token that a text begins with, where the tokenizer has one.
  var beginOfSequence: Int32? { get }
  /// The token that a text ends with, where the tokenizer has one.
  var endOfSequence: Int32? { get }

  /// The ids of `text`.
  ///
  /// - Parameters:
  ///   - text: UTF-8.
  ///   - addSpecialTokens: whether the tokens that the tokenizer puts around a text (such as the beginning of
  ///     the sequence) are added.
  ///   - parseSpecialTokens: whether special tokens written out in the text become their ids; otherwise they
  ///     are text.
  /// - Throws: ``TokenizerError/matchLimit(pattern:)`` when a split pattern of the tokenizer's file that Adze
  ///   has no scanner for would take too long; never with the patterns that are known by name.
  func encode(
    _ text: [UInt8], addSpecialTokens: Bool, parseSpecialTokens: Bool
  ) throws(TokenizerError) -> [Int32]

  /// The bytes of one token on its own; none for special tokens and ids out of range.
  func bytes(of token: Int32) -> [UInt8]
  /// The bytes that `token` adds to a text at the place that `context` describes.
  func bytes(of token: Int32, in context: DecodingContext) -> [UInt8]
  /// The bytes of a special token that is not left out, at the place that `context` describes.
  func specialBytes(of token: Int32, in context: DecodingContext) -> [UInt8]
  /// Whether `token` controls the model and is no part of a text.
  func isSpecial(_ token: Int32) -> Bool

  /// The name of a token as the vocabulary writes it; nil when `id` is unused.
  func token(_ id: Int32) -> String?
  /// The id of the token that the vocabulary writes so.
  func id(of token: String) -> Int32?
}

/// What stands before a token that is decoded.
public struct DecodingContext: Sendable, Equatable {
  /// The token before it; nil for the first one.
  public private(set) var previous: Int32?
  /// Whether there was no text before it: only special tokens that were left out, or tokens without bytes.
  public private(set) var isAtStart = true

  /// The start of a text.
  public init() {}

  /// The bytes that `token` adds here, which then becomes what stands before the next one.
  mutating func append(_ token: Int32, of tokenizer: some Tokenizer, skipSpecialTokens: Bool) -> [UInt8] {
    let isSpecial = tokenizer.isSpecial(token)
    if isSpecial && skipSpecialTokens {
      previous = token
      return []
    }
    let bytes = isSpecial ? tokenizer.specialBytes(of: token, in: self) : tokenizer.bytes(of: token, in: self)
    // A token whose only byte was taken away at the start has begun the text all the same.
    if isAtStart, isSpecial || !bytes.isEmpty || !tokenizer.bytes(of: token).isEmpty { isAtStart = false }
    previous = token
    return bytes
  }
}

extension Tokenizer {
  /// The ids of `text`.
  /// - Throws: As ``encode(_:addSpecialTokens:parseSpecialTokens:)`` for bytes.
  public func encode(
    _ text: String, addSpecialTokens: Bool = true, parseSpecialTokens: Bool = true
  ) throws(TokenizerError) -> [Int32] {
    try encode(Array(text.utf8), addSpecialTokens: addSpecialTokens, parseSpecialTokens: parseSpecialTokens)
  }

  /// The bytes that `token` adds to a text; by default the same at every place.
  public func bytes(of token: Int32, in context: DecodingContext) -> [UInt8] { bytes(of: token) }

  /// The name of a special token.
  public func specialBytes(of token: Int32, in context: DecodingContext) -> [UInt8] {
    Array((self.token(token) ?? "").utf8)
  }

  /// The bytes of a sequence of tokens, which need not be UTF-8.
  public func bytes(of tokens: [Int32], skipSpecialTokens: Bool = true) -> [UInt8] {
    var result: [UInt8] = []
    var context = DecodingContext()
    for token in tokens {
      result += context.append(token, of: self, skipSpecialTokens: skipSpecialTokens)
    }
    return result
  }

  /// The text of a sequence of tokens; each maximal part that is not UTF-8 becomes U+FFFD.
  public func decode(_ ids: [Int32], skipSpecialTokens: Bool = true) -> String {
    String(decoding: bytes(of: ids, skipSpecialTokens: skipSpecialTokens), as: UTF8.self)
  }
}
