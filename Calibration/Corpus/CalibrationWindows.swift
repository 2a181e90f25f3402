import TensorCore

/// The windows of tokens that a model reads for calibration.
public struct CalibrationWindows: Sendable {
  /// One sequence a window.
  public let windows: [[Int32]]
  /// Number of the first of them in the draw that they are a part of.
  public let firstNumber: Int
  /// How many, at the end, the model has written itself.
  public let selfGeneratedCount: Int

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
    firstNumber = 0
    selfGeneratedCount = 0
    windows = order.prefix(count).map { number in
      var window = Array(tokens[number * length..<(number + 1) * length])
      if let beginOfSequence { window[0] = beginOfSequence }
      return window
    }
  }

  /// Adopts windows that were cut elsewhere.
  public init(windows: [[Int32]], firstNumber: Int = 0, selfGeneratedCount: Int = 0) {
    self.windows = windows
    self.firstNumber = firstNumber
    self.selfGeneratedCount = selfGeneratedCount
  }

  /// One of several nearly equal parts, cut between leaves of ``WindowSegment``; parts may be empty when there are few leaves.
  /// - Parameter number: 0 to `count - 1`.
  public func part(_ number: Int, of count: Int) -> CalibrationWindows {
    let leaves = Checked.ceilingQuotient(windows.count, WindowSegment.leafLength)
    let bounds = [number, number + 1].map {
      min(windows.count, leaves * $0 / count * WindowSegment.leafLength)
    }
    return CalibrationWindows(
      windows: Array(windows[bounds[0]..<bounds[1]]), firstNumber: firstNumber + bounds[0])
  }

  /// The windows as a segment of their corpus.
  public func segment(of corpus: String) -> WindowSegment {
    WindowSegment(corpus: corpus, windows: firstNumber..<firstNumber + windows.count)
  }

  /// Tokens of all windows.
  public var tokenCount: Int { windows.reduce(0) { $0 + $1.count } }
}
