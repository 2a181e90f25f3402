import Glibc

/// How tokens choose experts.
public struct RoutingOptions: Sendable, Equatable {
  /// Experts of a token.
  public var chosen: Int
  /// Whether scores are sigmoids rather than a softmax.
  public var isSigmoid: Bool
  /// What is added to the scores for choosing, one number an expert; empty for nothing.
  public var bias: [Float]
  /// Whether the chosen scores are divided by their sum.
  public var isNormalized: Bool
  /// What the weights are multiplied with.
  public var factor: Double
  /// Groups of experts, of which `keptGroups` with the largest sums of their `groupTop` largest values are eligible.
  public var groups: Int
  /// Groups that are eligible.
  public var keptGroups: Int
  /// Experts of a group that speak for it.
  public var groupTop: Int

  /// Creates options.
  public init(
    chosen: Int, isSigmoid: Bool = false, bias: [Float] = [], isNormalized: Bool = false, factor: Double = 1,
    groups: Int = 1, keptGroups: Int = 1, groupTop: Int = 1
  ) {
    self.chosen = chosen
    self.isSigmoid = isSigmoid
    self.bias = bias
    self.isNormalized = isNormalized
    self.factor = factor
    self.groups = groups
    self.keptGroups = keptGroups
    self.groupTop = groupTop
  }
}

extension KernelTable {
  /// Weights of the experts that each token chooses, 0 for all others.
  ///
  /// Scores and sums are computed in double and rounded once. Among equal values the lower number is chosen. A token whose
  /// logits are not numbers gets NaN weights, so that it shows in the result.
  ///
  /// - Parameters:
  ///   - logits: `[T, experts]`.
  ///   - y: the same shape; may be `logits`.
  public func route(_ logits: Rows, _ options: RoutingOptions, into y: Rows, pool: ThreadPool) {
    unsafe requireSame(logits, y)
    unsafe forEachRow(logits.rows, columns: logits.columns * 16, pool) { row in
      let values = unsafe UnsafeBufferPointer(start: logits[row], count: logits.columns).map(Double.init)
      let weights = Router(options, logits: values).weights
      for expert in weights.indices { unsafe y[row][expert] = weights[expert] }
    }
  }
}

/// One token's choice.
private struct Router {
  var weights: [Float]

  init(_ options: RoutingOptions, logits: [Double]) {
    weights = [Float](repeating: 0, count: logits.count)
    let scores = Self.scores(logits, isSigmoid: options.isSigmoid)
    guard scores.allSatisfy(\.isFinite) else {
      for expert in 0..<options.chosen { weights[expert] = .nan }
      return
    }
    let values = options.bias.isEmpty ? scores : zip(scores, options.bias).map { $0 + Double($1) }
    let eligible = Self.eligible(values, options)
    let chosen = Self.largest(options.chosen, of: values, among: eligible)
    let total = options.isNormalized ? chosen.reduce(0) { $0 + scores[$1] } : 1
    guard total > 0 else { return }
    for expert in chosen { weights[expert] = Float(scores[expert] / total * options.factor) }
  }

  private static func scores(_ logits: [Double], isSigmoid: Bool) -> [Double] {
    if isSigmoid { return logits.map { 1 / (1 + exp(-$0)) } }
    let largest = logits.max() ?? 0
    let powers = logits.map { exp($0 - largest) }
    let total = powers.reduce(0, +)
    return powers.map { $0 / total }
  }

  private static func eligible(_ values: [Double], _ options: RoutingOptions) -> [Int] {
    guard options.groups > 1 else { return Array(values.indices) }
    let width = values.count / options.groups
    let sums = (0..<options.groups).map { group in
      largest(options.groupTop, of: values, among: Array(group * width..<(group + 1) * width))
        .reduce(0.0) { $0 + values[$1] }
    }
    return largest(options.keptGroups, of: sums, among: Array(sums.indices)).sorted()
      .flatMap { $0 * width..<($0 + 1) * width }
  }

  /// The `count` candidates with the largest values, largest first; among equals the lower number first.
  private static func largest(_ count: Int, of values: [Double], among candidates: [Int]) -> [Int] {
    var best: [Int] = []
    for candidate in candidates {
      let place = best.firstIndex { values[$0] < values[candidate] } ?? best.count
      guard place < count else { continue }
      best.insert(candidate, at: place)
      if best.count > count { best.removeLast() }
    }
    return best
  }
}
