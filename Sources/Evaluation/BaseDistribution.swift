import LogitBase

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

  /// Writes the log-probabilities of one scored position (the second half of each window) over the start of
  /// `row`, which has room for the vocabulary.
  /// - Throws: When the file is damaged.
  func readLogProbabilities(window: Int, scoredIndex: Int, into row: inout [Float]) throws
}

extension LogitBaseFile: BaseDistribution {
  /// Tokens in each window.
  public var windowLength: Int { layout.contextLength }
  /// Log-probabilities in each row.
  public var vocabularyCount: Int { layout.vocabularyCount }
  /// Number of windows.
  public var windowCount: Int { layout.chunkCount }

  /// Decodes one row.
  public func readLogProbabilities(window: Int, scoredIndex: Int, into row: inout [Float]) {
    readLogProbabilities(chunk: window, row: scoredIndex, into: &row)
  }
}

extension LogitBaseLayout {
  /// The layout of a base file for these windows.
  /// - Throws: `LogitBaseError` when a number does not fit the format.
  public init(_ windows: EvaluationWindows, vocabularyCount: Int) throws(LogitBaseError) {
    try self.init(
      contextLength: windows.length, vocabularyCount: vocabularyCount, chunkCount: windows.count)
  }
}

extension EvaluationWindows {
  /// Checks that a base was made from these windows; the first token of a window is not compared, as it is
  /// replaced.
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
