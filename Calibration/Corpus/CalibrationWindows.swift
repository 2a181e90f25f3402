import TensorCore

/// The windows of tokens that a model reads for calibration.
public struct CalibrationWindows: Sendable {
  /// One sequence a window.
  public let windows: [[Int32]]

  /// Cuts a token stream into windows that do not overlap.
  ///
  /// - Parameters:
  ///   - tokens: the whole corpus, without special tokens.
  ///   - count: how many windows to take; fewer are taken when the corpus is shorter.
  ///   - length: tokens of a window, the begin-of-sequence token included.
  ///   - beginOfSequence: takes the place of each window's first token, when the model uses one.
  ///   - seed: 0 takes the first windows; any other number draws windows at random, without repetition.
  /// - Throws: ``CalibrationError/corpusTooShort(tokens:needed:)`` when not even one window fits.
  public init(
    tokens: [Int32], count: Int, length: Int, beginOfSequence: Int32?, seed: UInt64
  ) throws(CalibrationError) {
    let available = length > 0 ? tokens.count / length : 0
    guard available > 0, count > 0 else {
      throw .corpusTooShort(tokens: tokens.count, needed: max(length, 1))
    }
    var order = Array(0..<available)
    if seed != 0 {
      var generator = SplitMix64(seed: seed)
      order.shuffle(using: &generator)
    }
    windows = order.prefix(count).map { number in
      var window = Array(tokens[number * length..<(number + 1) * length])
      if let beginOfSequence { window[0] = beginOfSequence }
      return window
    }
  }

  /// Adopts windows that were cut elsewhere.
  public init(windows: [[Int32]]) { self.windows = windows }

  /// Tokens of all windows.
  public var tokenCount: Int { windows.reduce(0) { $0 + $1.count } }
}
