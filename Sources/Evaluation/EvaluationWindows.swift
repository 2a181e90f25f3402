/// Which predictions of a window count.
public enum ScoredPart: String, Sendable, CaseIterable {
  /// The second half, so that every prediction has at least half a window of context.
  case secondHalf = "second-half"
  /// All predictions.
  case all
}

/// A text cut into windows that do not overlap, and the predictions of each that are scored.
///
/// With a window of `c` tokens the positions `c/2 ... c-2` are scored, each predicting the token after it:
/// 255 predictions at `c = 512`. This is the protocol of llama-perplexity. Tokens left over after the last
/// whole window are not used.
public struct EvaluationWindows: Sendable, Equatable {
  /// Tokens of the windows, one after another, without the replacement of the first.
  public let tokens: [Int32]
  /// Tokens in each window.
  public let length: Int
  /// Number of windows.
  public let count: Int
  /// Takes the place of the first token of each window, when the model uses one.
  public let beginOfSequence: Int32?
  /// Which predictions count.
  public let scoredPart: ScoredPart

  /// Cuts a text.
  ///
  /// - Parameters:
  ///   - tokens: The whole text without special tokens.
  ///   - length: Tokens in each window.
  ///   - beginOfSequence: Replaces the first token of each window; nil for a model that uses none.
  ///   - scoredPart: Which predictions count.
  ///   - limit: At most this many windows; nil for all.
  /// - Throws: `windowTooShort`, `textTooShort`, `notPositive`.
  public init(
    tokens: [Int32], length: Int = 512, beginOfSequence: Int32?, scoredPart: ScoredPart = .secondHalf,
    limit: Int? = nil
  ) throws(EvaluationError) {
    let minimum = scoredPart == .all ? 2 : 3
    guard length >= minimum else { throw .windowTooShort(length: length, minimum: minimum) }
    if let limit, limit < 1 { throw .notPositive(option: "the number of chunks", value: limit) }
    guard tokens.count >= length else { throw .textTooShort(tokens: tokens.count, windowLength: length) }
    self.length = length
    self.count = min(tokens.count / length, limit ?? .max)
    self.tokens = Array(tokens.prefix(count * length))
    self.beginOfSequence = beginOfSequence
    self.scoredPart = scoredPart
  }

  /// Positions of a window whose prediction of the next token counts.
  public var scored: Range<Int> {
    switch scoredPart {
    case .secondHalf: length / 2..<length - 1
    case .all: 0..<length - 1
    }
  }

  /// Predictions scored over all windows.
  public var predictionCount: Int { count * scored.count }

  /// The tokens that the model reads in a window.
  public func input(_ window: Int) -> [Int32] {
    var result = Array(tokens[window * length..<(window + 1) * length])
    if let beginOfSequence { result[0] = beginOfSequence }
    return result
  }

  /// The tokens that the scored positions of a window should predict, in order.
  public func targets(_ window: Int) -> ArraySlice<Int32> {
    let start = window * length + 1
    return tokens[start + scored.lowerBound..<start + scored.upperBound]
  }

  /// Checks that every token is one of the model's.
  /// - Throws: `tokenOutOfVocabulary`.
  public func validate(vocabularyCount: Int) throws(EvaluationError) {
    func isValid(_ token: Int32) -> Bool { token >= 0 && Int(token) < vocabularyCount }
    if let beginOfSequence, !isValid(beginOfSequence) {
      throw .tokenOutOfVocabulary(token: beginOfSequence, position: 0, vocabularyCount: vocabularyCount)
    }
    guard let position = tokens.firstIndex(where: { !isValid($0) }) else { return }
    throw .tokenOutOfVocabulary(
      token: tokens[position], position: position, vocabularyCount: vocabularyCount)
  }
}
