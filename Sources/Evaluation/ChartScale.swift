import Glibc

/// Where values lie along an axis, and which of them get a mark.
struct ChartScale {
  /// Values at the two ends.
  let range: ClosedRange<Double>
  /// Whether equal distances are equal ratios.
  let isLogarithmic: Bool
  /// Values with a mark, ascending, within the range.
  let ticks: [Double]

  /// An even axis from zero to a round number at or above the largest value.
  static func fromZero(_ values: [Double], tickCount: Int = 5) -> ChartScale {
    let largest = values.filter(\.isFinite).max() ?? 1
    let step = roundStep(largest > 0 ? largest / Double(tickCount) : 1 / Double(tickCount))
    let count = max(1, Int((largest / step - 1e-9).rounded(.up)))
    let ticks = (0...count).map { Double($0) * step }
    return ChartScale(range: 0...Double(count) * step, isLogarithmic: false, ticks: ticks)
  }

  /// An even axis around the values, with a little room.
  static func around(_ values: [Double], tickCount: Int = 5) -> ChartScale {
    let finite = values.filter(\.isFinite)
    let low = finite.min() ?? 0
    let high = finite.max() ?? 1
    let spread = high > low ? high - low : max(abs(high) * 0.1, 1e-9)
    let step = roundStep(spread * 1.1 / Double(tickCount))
    let first = ((low - 0.05 * spread) / step).rounded(.down)
    let last = ((high + 0.05 * spread) / step).rounded(.up)
    let count = min(max(1, Int(last - first)), 4 * tickCount)
    let ticks = (0...count).map { (first + Double($0)) * step }
    return ChartScale(range: ticks[0]...ticks[count], isLogarithmic: false, ticks: ticks)
  }

  /// For values of which none is below zero: by ratios when they span more than a factor of thirty, else
  /// from zero.
  static func ratioOrZero(_ values: [Double]) -> ChartScale {
    let positive = values.filter { $0.isFinite && $0 > 0 }
    guard positive.count == values.count, let low = positive.min(), let high = positive.max(),
      high / low > 30, high / low < 1e12
    else { return fromZero(values) }
    // Marks at 1, 2 and 5 over few powers of ten, at 1 alone over many; the axis ends at marks.
    let factors: [Double] = high / low < 2e4 ? [1, 2, 5] : [1]
    let powers = Int(log10(low).rounded(.down)) - 1...Int(log10(high).rounded(.up)) + 1
    let marks = powers.flatMap { power in factors.map { $0 * pow(10, Double(power)) } }
    let first = marks.lastIndex { $0 < low * 0.97 } ?? 0
    let last = marks.firstIndex { $0 > high * 1.03 } ?? marks.count - 1
    let ticks = Array(marks[first...last])
    return ChartScale(range: ticks[0]...ticks[ticks.count - 1], isLogarithmic: true, ticks: ticks)
  }

  /// The place of a value between the ends, 0 ... 1; values outside are moved to the ends.
  func fraction(_ value: Double) -> Double {
    let result =
      isLogarithmic
      ? (log(max(value, range.lowerBound)) - log(range.lowerBound))
        / (log(range.upperBound) - log(range.lowerBound))
      : (value - range.lowerBound) / (range.upperBound - range.lowerBound)
    return result.isFinite ? min(max(result, 0), 1) : 1
  }

  /// What stands at a mark.
  func label(_ tick: Double) -> String {
    if isLogarithmic || tick == 0 { return NumberFormat.significant(tick, 1) }
    let step = ticks.count > 1 ? ticks[1] - ticks[0] : tick
    var decimals = 0
    var scaled = step
    while abs(scaled - scaled.rounded()) > 1e-6 * scaled && decimals < 9 {
      scaled *= 10
      decimals += 1
    }
    return decimals == 0 ? NumberFormat.grouped(tick) : NumberFormat.fixed(tick, decimals)
  }

  /// The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `least`.
  private static func roundStep(_ least: Double) -> Double {
    guard least > 0, least.isFinite else { return 1 }
    let power = pow(10, log10(least).rounded(.down))
    let factor = [1, 2, 2.5, 5].first { $0 * power >= least * (1 - 1e-9) }
    return (factor ?? 10) * power
  }
}
