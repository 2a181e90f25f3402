import Codecs

/// How large the inputs of linear layers are, and what rounding them costs.
///
/// Magnitudes are counted by the upper bits of their floats, 64 counts for each power of two: counts of parts of a corpus add up
/// to those of the whole, and a percentile is known to one part in 64.
public struct ActivationRange: Sendable, Equatable {
  /// Bits of a magnitude that are not told apart.
  static let droppedBits = 17
  /// Counts: one for each pattern of the other bits.
  static let binCount = 1 << (31 - droppedBits)

  /// Tokens seen.
  public internal(set) var tokenCount = 0
  /// Largest magnitude of each input.
  public internal(set) var maxima: [Float]
  /// Numbers seen by magnitude.
  var counts: [UInt64]
  /// Sum of the squares of all numbers.
  public internal(set) var squareSum = 0.0
  /// Sum of the squares of what dynamic rounding changed them by.
  public internal(set) var errorSum = 0.0

  init(columns: Int) {
    maxima = [Float](repeating: 0, count: columns)
    counts = [UInt64](repeating: 0, count: Self.binCount)
  }

  /// What is known of maxima alone, such as those of a file of statistics: percentiles are then unknown.
  public init(maxima: [Float], tokenCount: Int) {
    self.init(columns: 0)
    self.maxima = maxima
    self.tokenCount = tokenCount
  }

  /// Whether numbers were counted.
  public var hasCounts: Bool { squareSum > 0 }

  /// Largest magnitude of all.
  public var absoluteMaximum: Float { maxima.max() ?? 0 }

  /// The magnitude that a share of all numbers does not exceed, rounded up by at most a 64th; 0 when nothing was counted.
  public func percentile(_ share: Double) -> Float {
    let total = counts.reduce(0, +)
    guard total > 0 else { return 0 }
    let wanted = UInt64((Double(total) * min(max(share, 0), 1)).rounded(.up))
    var seen: UInt64 = 0
    for (bin, count) in counts.enumerated() {
      seen += count
      if seen >= wanted { return min(Self.edge(bin + 1), absoluteMaximum) }
    }
    return absoluteMaximum
  }

  /// Columns in which a number of at least this magnitude was met, ascending.
  public func outlierColumns(threshold: Float) -> [Int] { maxima.indices.filter { maxima[$0] >= threshold } }

  /// The error of dynamic rounding, relative to the energy of the inputs.
  public var relativeError: Double { squareSum > 0 ? errorSum / squareSum : 0 }

  /// The expected error of rounding with a static scale, relative to the energy of the inputs: a twelfth of a squared step inside
  /// the range, the distance from its end outside.
  public func relativeError(_ kind: ActivationScheme.Kind, scale: Float) -> Double {
    guard squareSum > 0, scale > 0, kind != .float32 else { return 0 }
    let end = Double(scale) * (kind == .fp8 ? 448 : 127)
    var sum = 0.0
    for (bin, count) in counts.enumerated() where count > 0 {
      let value = Double(Self.edge(bin) + Self.edge(bin + 1)) / 2
      let step = Self.step(value / Double(scale), kind) * Double(scale)
      // What is nearer to zero than to the first code becomes zero.
      let inside = value < step / 2 ? value * value : step * step / 12
      let outside = value - end
      sum += Double(count) * (outside > 0 ? outside * outside : inside)
    }
    return sum / squareSum
  }

  /// The distance between codes around a magnitude.
  private static func step(_ value: Double, _ kind: ActivationScheme.Kind) -> Double {
    guard kind == .fp8 else { return 1 }
    guard value >= 0x1p-6 else { return 0x1p-9 }
    return value.binade / 8
  }

  /// Where counts of a bin begin.
  private static func edge(_ bin: Int) -> Float {
    Float(bitPattern: UInt32(min(bin, binCount - 1)) << UInt32(droppedBits))
  }
}

/// How a static scale is chosen from what was seen.
public enum ScaleObserver: Sendable, Hashable, CustomStringConvertible {
  /// The largest magnitude becomes the largest code.
  case minmax
  /// The magnitude that a share of all numbers does not exceed becomes the largest code.
  case percentile(Double)
  /// The range with the smallest expected squared error.
  case mse

  /// The observer of a name: `minmax`, `mse`, `percentile` (99.99) or `percentile-99.9`. Nil when there is none.
  public init?(name: String) {
    switch name {
    case "minmax", "absmax": self = .minmax
    case "mse": self = .mse
    case "percentile": self = .percentile(0.9999)
    default:
      guard name.hasPrefix("percentile-"), let percent = Double(name.dropFirst(11)), percent > 50,
        percent <= 100
      else { return nil }
      self = .percentile(percent / 100)
    }
  }

  /// The name that ``init(name:)`` understands.
  public var description: String {
    switch self {
    case .minmax: "minmax"
    case .mse: "mse"
    case .percentile(0.9999): "percentile"
    case .percentile(let share): "percentile-\(share * 100)"
    }
  }

  /// The scale of a range for codes up to ``ActivationScheme/largestCode``; nil when no number but zero was seen, or when a share
  /// or an error is wanted and numbers were not counted.
  public func scale(of range: ActivationRange, for scheme: ActivationScheme) -> Float? {
    let largest = range.absoluteMaximum
    guard largest > 0, self == .minmax || range.hasCounts else { return nil }
    let whole = largest / scheme.largestCode
    let scale: Float
    switch self {
    case .minmax: scale = whole
    case .percentile(let share): scale = range.percentile(share) / scheme.largestCode
    case .mse:
      // From the whole range to a 64th of it, in steps of a sixteenth of an octave.
      var factor: Float = 1
      var best: (error: Double, scale: Float) = (.infinity, whole)
      for _ in 0...96 {
        let error = range.relativeError(scheme.kind, scale: whole * factor)
        if error < best.error { best = (error, whole * factor) }
        factor *= 0.957603
      }
      scale = best.scale
    }
    // Below this a scale would not be a normal number, nor would its inverse be finite.
    return max(scale, 0x1p-100)
  }
}
