/// How the next token is chosen from logits.
public struct SamplingOptions: Sendable, Equatable {
  /// 0: always the likeliest token; otherwise logits are divided by it.
  public var temperature: Float
  /// Keep this many of the likeliest tokens; 0: all.
  public var topK: Int
  /// Keep the likeliest tokens whose probabilities add up to this; 1: all.
  public var topP: Float
  /// Seed of the generator: equal seeds give equal texts.
  public var seed: UInt64

  /// Creates options.
  public init(temperature: Float = 0.8, topK: Int = 40, topP: Float = 0.95, seed: UInt64 = 0) {
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.seed = seed
  }

  /// The likeliest token, always.
  public static let greedy = SamplingOptions(temperature: 0, topK: 1, topP: 1)
}

/// Chooses tokens; the same options and logits give the same choices.
public struct Sampler: Sendable {
  private let options: SamplingOptions
  private var state: UInt64

  /// Starts with the options' seed.
  public init(_ options: SamplingOptions) {
    self.options = options
    state = options.seed
  }

  /// Chooses from a row of logits; ties go to the lower token.
  public mutating func sample(_ logits: Span<Float>) -> Int32 {
    guard options.temperature > 0, options.topK != 1 else { return Sampler.likeliest(logits) }
    var candidates = (0..<logits.count).map { (token: $0, logit: logits[$0]) }.filter {
      $0.logit > -.infinity
    }
    candidates.sort { ($0.logit, $1.token) > ($1.logit, $0.token) }
    if options.topK > 0 { candidates.removeLast(max(0, candidates.count - options.topK)) }
    guard let top = candidates.first else { return Sampler.likeliest(logits) }
    let weights = candidates.map { exponential(($0.logit - top.logit) / options.temperature) }
    let total = weights.reduce(0, +)
    var kept = 0
    var mass = 0.0
    repeat {
      mass += weights[kept]
      kept += 1
    } while kept < weights.count && mass < Double(options.topP) * total
    var target = nextUnit() * mass
    for index in 0..<kept {
      target -= weights[index]
      if target < 0 { return Int32(candidates[index].token) }
    }
    return Int32(candidates[kept - 1].token)
  }

  /// The token with the largest logit; ties go to the lower token, NaN never wins.
  public static func likeliest(_ logits: Span<Float>) -> Int32 {
    var best = 0
    for index in 1..<max(1, logits.count) where logits[index] > logits[best] || logits[best].isNaN {
      best = index
    }
    return Int32(best)
  }

  /// A number in 0..<1 (SplitMix64, upper 53 bits).
  private mutating func nextUnit() -> Double {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Double((z ^ (z >> 31)) >> 11) * 0x1p-53
  }
}
