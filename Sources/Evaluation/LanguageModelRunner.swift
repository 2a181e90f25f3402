/// A language model that can be asked for logits, whatever it is stored in and however it is run.
///
/// Execution's session is one; tests bring their own.
public protocol LanguageModelRunner {
  /// Number of logits at each position.
  var vocabularyCount: Int { get }

  /// Runs one window from an empty cache and hands out the logits of the positions `scored`.
  ///
  /// - Parameters:
  ///   - tokens: The window, beginning at position 0.
  ///   - scored: Positions of `tokens` whose logits are wanted.
  ///   - body: Called once with row-major float32 logits `[scored.count, vocabularyCount]`, valid during the call.
  /// - Throws: What running the model throws, and what `body` throws.
  func evaluate(
    tokens: [Int32], scored: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> Void) throws
}
