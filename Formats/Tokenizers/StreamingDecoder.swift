import SafeIO

/// Decodes tokens one by one and gives out text as soon as it is certain.
///
/// What ``append(_:)`` and ``finish()`` return, put together, equals
/// ``Tokenizer/decode(_:skipSpecialTokens:)`` of all tokens.
public struct StreamingDecoder: Sendable {
  private let tokenizer: any Tokenizer
  private let skipSpecialTokens: Bool
  private var context = DecodingContext()
  private var pending: [UInt8] = []

  /// Starts at the beginning of a text.
  public init(_ tokenizer: any Tokenizer, skipSpecialTokens: Bool = true) {
    self.tokenizer = tokenizer
    self.skipSpecialTokens = skipSpecialTokens
  }

  /// The text that is complete after `id`: whole scalars only, and possibly none.
  public mutating func append(_ id: Int32) -> String {
    pending += context.append(id, of: tokenizer, skipSpecialTokens: skipSpecialTokens)
    let complete = pending.count - UTF8Text.unfinishedSuffixCount(of: pending)
    let text = String(decoding: pending[..<complete], as: UTF8.self)
    pending.removeFirst(complete)
    return text
  }

  /// The rest of the text: a scalar that was never finished becomes U+FFFD.
  public mutating func finish() -> String {
    defer { pending = [] }
    return String(decoding: pending, as: UTF8.self)
  }
}
