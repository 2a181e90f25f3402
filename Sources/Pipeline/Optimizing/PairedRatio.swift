/// How much faster one program is than another, from rounds in which both ran in turn: a machine that is slow for a while is slow
/// for both, so that what a round says is a ratio, and not two speeds.
public struct PairedRatio: Sendable, Equatable {
  /// The median of the rounds; 0 when there are none.
  public let median: Double
  /// The smallest and the largest of a round.
  public let range: ClosedRange<Double>

  /// Ratios of times that lie side by side.
  /// - Parameters:
  ///   - seconds: of the program, by round and by turn within it.
  ///   - reference: of the other one, as many. A round is the median of its turns; turns without both times are left out.
  public init(_ seconds: [[Double]], to reference: [[Double]]) {
    let rounds = zip(seconds, reference).compactMap { own, other -> Double? in
      let ratios = zip(own, other).compactMap { $0 > 0 && $1 > 0 ? $1 / $0 : nil }
      return ratios.isEmpty ? nil : Self.median(ratios)
    }
    median = Self.median(rounds)
    range = (rounds.min() ?? 0)...(rounds.max() ?? 0)
  }

  /// The middle one, or the mean of both; 0 of none.
  public static func median(_ samples: [Double]) -> Double {
    let sorted = samples.sorted()
    return sorted.isEmpty ? 0 : (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
  }
}
