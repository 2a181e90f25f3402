import Execution

extension Session: LanguageModelRunner {
  /// Number of logits at each position.
  public var vocabularyCount: Int { program.outputColumns.first ?? 0 }

  /// Empties the caches and runs one window.
  /// - Throws: `ExecutionError`, and what `body` throws.
  public func evaluate(
    tokens: [Int32], scored: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> Void
  ) throws {
    reset()
    try unsafe forward(tokens, rows: scored, body)
  }
}
