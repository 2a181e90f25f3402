/// Windows of a corpus, without a gap, that sums were made over.
public struct WindowSegment: Sendable, Hashable {
  /// Digest of all windows of the corpus, also of those that others read.
  public let corpus: String
  /// Numbers of the windows in the corpus.
  public let windows: Range<Int>

  /// Windows that are always summed one after another; parts of a corpus for several machines are cut between them.
  public static let leafLength = 16

  /// Creates a segment.
  public init(corpus: String, windows: Range<Int>) {
    self.corpus = corpus
    self.windows = windows
  }

  /// The segment that this one and the next make, when both are children of one node of the binary tree over the leaves: sums
  /// are added there and nowhere else, so that they have the same bits whoever made them.
  func joined(with next: WindowSegment) -> WindowSegment? {
    let count = windows.count
    let leaves = count / Self.leafLength
    guard corpus == next.corpus, windows.upperBound == next.windows.lowerBound, next.windows.count == count,
      count % Self.leafLength == 0, leaves > 0, leaves & (leaves - 1) == 0,
      windows.lowerBound % (2 * count) == 0
    else { return nil }
    return WindowSegment(corpus: corpus, windows: windows.lowerBound..<next.windows.upperBound)
  }
}

/// Statistics of segments in ascending order, joined where they can be.
struct SegmentStack {
  private(set) var items: [(segment: WindowSegment, statistics: InputStatistics)] = []

  /// Adds the next segment.
  /// - Throws: ``CalibrationError/statisticsMismatch(reason:)``.
  mutating func push(_ segment: WindowSegment, _ statistics: InputStatistics) throws(CalibrationError) {
    items.append((segment, statistics))
    while items.count > 1,
      let joined = items[items.count - 2].segment.joined(with: items[items.count - 1].segment)
    {
      let last = items.removeLast().statistics
      items[items.count - 1].segment = joined
      try items[items.count - 1].statistics.merge(last)
    }
  }
}

/// What was seen of the inputs of a group of layers, by segments.
public struct ObservedInputs: Sendable {
  /// In ascending order; one alone unless segments were asked for.
  public internal(set) var segments: [(segment: WindowSegment, statistics: InputStatistics)]

  /// All of it.
  /// - Throws: ``CalibrationError/statisticsMismatch(reason:)``.
  public func total() throws(CalibrationError) -> InputStatistics {
    var total = segments[0].statistics
    for item in segments.dropFirst() { try total.merge(item.statistics) }
    return total
  }
}
