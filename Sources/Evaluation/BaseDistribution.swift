/// Log-probabilities of a base model that were kept from an earlier run, such as a base file.
public protocol BaseDistribution {
  /// Tokens in each window.
  var windowLength: Int { get }
  /// Log-probabilities in each row.
  var vocabularyCount: Int { get }
  /// Number of windows.
  var windowCount: Int { get }
  /// Tokens of the windows, one after another.
  var tokens: [Int32] { get }

  /// Writes the log-probabilities of one scored position (the second half of each window) into `row`.
  /// - Throws: When the file is damaged.
  func readLogProbabilities(
    window: Int, scoredIndex: Int, into row: UnsafeMutableBufferPointer<Float>) throws
}

/// Takes the logits of the scored positions, in order, to keep them for later runs.
public protocol LogitSink: AnyObject {
  /// Takes the logits of one position.
  /// - Throws: When they cannot be written.
  func append(logits: UnsafeBufferPointer<Float>) throws
}

extension EvaluationWindows {
  /// Checks that a base was made from these windows; the first token of a window is not compared, as it is replaced.
  /// - Throws: `baseDoesNotMatch`, `baseNeedsSecondHalf`.
  public func validate(base: any BaseDistribution) throws(EvaluationError) {
    guard scoredPart == .secondHalf else { throw .baseNeedsSecondHalf }
    guard base.windowLength == length else {
      throw .baseDoesNotMatch(what: "window length", expected: "\(length)", found: "\(base.windowLength)")
    }
    guard base.windowCount >= count else {
      throw .baseDoesNotMatch(
        what: "number of windows", expected: "at least \(count)", found: "\(base.windowCount)")
    }
    let other = base.tokens
    guard other.count >= tokens.count else {
      throw .baseDoesNotMatch(
        what: "text", expected: "\(tokens.count) tokens", found: "\(other.count)")
    }
    for index in tokens.indices where index % length != 0 && tokens[index] != other[index] {
      throw .baseDoesNotMatch(
        what: "text", expected: "token \(tokens[index]) at position \(index)", found: "\(other[index])")
    }
  }

  /// The windows that a base was made from.
  /// - Throws: `windowTooShort`, `textTooShort`, `notPositive`.
  public init(
    base: any BaseDistribution, beginOfSequence: Int32?, limit: Int? = nil
  ) throws(EvaluationError) {
    try self.init(
      tokens: base.tokens, length: base.windowLength, beginOfSequence: beginOfSequence,
      limit: min(limit ?? .max, base.windowCount))
  }
}
