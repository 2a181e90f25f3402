/// Chooses one of several candidates for each item so that the sum of costs is least and the bytes fit a budget: the
/// multiple-choice knapsack, solved exactly by dynamic programming over bytes.
///
/// Bytes are counted in units: the greatest common divisor of all sizes when the budget is then at most
/// ``maximumUnits`` of them, which is exact; otherwise the budget divided by ``maximumUnits``, with sizes rounded up, so that
/// the result always fits and is optimal for the rounded sizes. Time and memory grow with items times units.
public enum AllocationSolver {
  /// One candidate of an item.
  public struct Candidate: Sendable, Equatable {
    /// Its bytes.
    public var byteCount: Int
    /// What it costs, not negative.
    public var cost: Double

    /// Creates a candidate.
    public init(byteCount: Int, cost: Double) {
      self.byteCount = byteCount
      self.cost = cost
    }
  }

  /// Most units that a budget is cut into.
  public static let maximumUnits = 1 << 16

  /// The number of the candidate chosen for each item; nil when even the smallest do not fit. Of equal costs, the
  /// smaller candidate is taken.
  public static func solve(_ items: [[Candidate]], budget: Int) -> [Int]? {
    let least = items.map { $0.map(\.byteCount).min() ?? 0 }.reduce(0, +)
    guard items.allSatisfy({ !$0.isEmpty }), least <= budget else { return nil }
    let unit = unit(items, budget: budget)
    let capacity = budget / unit
    // best[u]: least cost of the items so far in at most u units.
    var best = [Double](repeating: 0, count: capacity + 1)
    var choices: [[UInt16]] = []
    for item in items {
      var next = [Double](repeating: .infinity, count: capacity + 1)
      var chosen = [UInt16](repeating: .max, count: capacity + 1)
      let order = item.indices.sorted { (item[$0].byteCount, $0) < (item[$1].byteCount, $1) }
      for index in order {
        let size = (item[index].byteCount + unit - 1) / unit
        guard size <= capacity else { continue }
        for used in size...capacity where best[used - size] + item[index].cost < next[used] {
          next[used] = best[used - size] + item[index].cost
          chosen[used] = UInt16(index)
        }
      }
      best = next
      choices.append(chosen)
    }
    guard best[capacity].isFinite else {
      // Rounding up made the smallest too large, though they fit.
      return items.map { item in item.indices.min { item[$0].byteCount < item[$1].byteCount } ?? 0 }
    }
    var result = [Int](repeating: 0, count: items.count)
    var used = capacity
    for index in items.indices.reversed() {
      result[index] = Int(choices[index][used])
      used -= (items[index][result[index]].byteCount + unit - 1) / unit
    }
    return result
  }

  /// Bytes of a unit.
  public static func unit(_ items: [[Candidate]], budget: Int) -> Int {
    let divisor = items.joined().reduce(0) { gcd($0, $1.byteCount) }
    guard divisor > 0, budget / divisor <= maximumUnits else {
      return max(1, (budget + maximumUnits - 1) / maximumUnits)
    }
    return divisor
  }

  private static func gcd(_ a: Int, _ b: Int) -> Int { b == 0 ? a : gcd(b, a % b) }
}
