import TensorCore

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
  private var generator: SplitMix64

  /// Starts with the options' seed.
  public init(_ options: SamplingOptions) {
    self.options = options
    generator = SplitMix64(seed: options.seed)
  }

  /// Chooses from a row of logits; ties go to the lower token.
  public mutating func sample(_ logits: Span<Float>) -> Int32 {
    guard options.temperature > 0, options.topK != 1 else { return Sampler.likeliest(logits) }
    let candidates = candidates(logits)
    guard let top = candidates.max(by: { $0.logit < $1.logit }) else { return Sampler.likeliest(logits) }
    let weights = candidates.map { exponential(($0.logit - top.logit) / options.temperature) }
    let total = weights.reduce(0, +)
    var kept = 0
    var mass = 0.0
    repeat {
      mass += weights[kept]
      kept += 1
    } while kept < weights.count && mass < Double(options.topP) * total
    var target = generator.nextUnit() * mass
    for index in 0..<kept {
      target -= weights[index]
      if target < 0 { return Int32(candidates[index].token) }
    }
    return Int32(candidates[kept - 1].token)
  }

  /// The tokens to choose among, the likeliest first where some are left out.
  private func candidates(_ logits: Span<Float>) -> [(token: Int, logit: Float)] {
    let count = options.topK > 0 ? options.topK : logits.count
    guard count >= logits.count, options.topP >= 1 else { return likeliest(logits, count: count) }
    return Sampler.possible(logits)
  }

  /// All tokens but those with NaN or -infinity, in order.
  private static func possible(_ logits: Span<Float>) -> [(token: Int, logit: Float)] {
    (0..<logits.count).map { (token: $0, logit: logits[$0]) }.filter { $0.logit > -.infinity }
  }

  /// The tokens with the largest logits, in falling order; ties go to the lower token, NaN and -infinity are left out.
  private func likeliest(_ logits: Span<Float>, count: Int) -> [(token: Int, logit: Float)] {
    guard count < logits.count / 8 else {
      var all = Sampler.possible(logits)
      all.sort { ($0.logit, $1.token) > ($1.logit, $0.token) }
      return Array(all.prefix(count))
    }
    // Few of many: one walk with a short sorted list is far cheaper than sorting a vocabulary.
    var best: [(token: Int, logit: Float)] = []
    var threshold = -Float.infinity
    for token in 0..<logits.count where logits[token] > threshold {
      let logit = logits[token]
      let place = best.firstIndex { $0.logit < logit } ?? best.count
      best.insert((token, logit), at: place)
      if best.count > count { best.removeLast() }
      if best.count == count { threshold = best[count - 1].logit }
    }
    return best
  }

  /// The token with the largest logit; ties go to the lower token, NaN never wins.
  public static func likeliest(_ logits: Span<Float>) -> Int32 {
    var best = 0
    for index in 1..<max(1, logits.count) where logits[index] > logits[best] || logits[best].isNaN {
      best = index
    }
    return Int32(best)
  }
}
