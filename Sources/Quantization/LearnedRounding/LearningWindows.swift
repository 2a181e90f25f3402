/// Which windows of a calibration text are learned from, and which ones judge whether the result is better than the start.
public struct LearningWindows: Sendable, Equatable {
  /// Places in the calibration text of all windows that run through the model: those that are learned from come first.
  public let chosen: [Int]
  /// How many are learned from.
  public let learnedCount: Int
  /// Places in ``chosen`` of those that judge: at most 32, evenly spread.
  public let judges: [Int]

  /// Learns from `learned` of `count` windows, evenly spread; nil for all.
  ///
  /// Where some are left over, these judge: a few windows are easily fitted at the cost of all others.
  public init(learned: Int?, of count: Int) {
    let places = Self.spread(min(learned ?? count, count), over: count)
    let others = Set(0..<count).subtracting(places).sorted()
    let judging = Self.spread(min(others.count, Self.judgeLimit), over: others.count).map { others[$0] }
    chosen = places + judging
    learnedCount = places.count
    judges =
      judging.isEmpty
      ? Self.spread(min(count, Self.judgeLimit), over: count) : Array(places.count..<chosen.count)
  }

  private static let judgeLimit = 32

  private static func spread(_ chosen: Int, over count: Int) -> [Int] {
    (0..<chosen).map { $0 * count / chosen }
  }
}
