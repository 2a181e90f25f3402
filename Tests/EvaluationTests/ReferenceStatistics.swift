import Evaluation
import Glibc

/// Plain Double loops that say what the fast code should compute.
enum ReferenceStatistics {
  static func logProbabilities(_ logits: [Float]) -> [Double] {
    let maximum = Double(logits.max() ?? 0)
    var sum = 0.0
    for logit in logits { sum += exp(Double(logit) - maximum) }
    return logits.map { Double($0) - maximum - log(sum) }
  }

  static func divergence(base: [Float], model: [Float]) -> Double {
    let p = logProbabilities(base)
    let q = logProbabilities(model)
    var sum = 0.0
    for index in p.indices where p[index] > -700 { sum += exp(p[index]) * (p[index] - q[index]) }
    return sum
  }

  /// Whether two numbers agree to `tolerance`, relative to the larger one or to one.
  static func agree(_ a: Double, _ b: Double, tolerance: Double = 1e-11) -> Bool {
    if a == b { return true }
    return abs(a - b) <= tolerance * max(1, abs(a), abs(b))
  }
}

/// The outcome of one row given as arrays.
func outcome(_ logits: [Float], target: Int) -> PredictionOutcome {
  unsafe logits.withUnsafeBufferPointer { unsafe PredictionOutcome(logits: $0, target: target) }
}

/// The outcome of one row against a base.
func outcome(_ logits: [Float], base: [Float], target: Int) -> PredictionOutcome {
  unsafe logits.withUnsafeBufferPointer { model in
    unsafe base.withUnsafeBufferPointer { base in
      unsafe PredictionOutcome(logits: model, baseLogits: base, target: target)
    }
  }
}

/// The outcome of one row against kept log-probabilities.
func outcome(_ logits: [Float], stored: [Float], target: Int) -> PredictionOutcome {
  unsafe logits.withUnsafeBufferPointer { model in
    unsafe stored.withUnsafeBufferPointer { base in
      unsafe PredictionOutcome(logits: model, baseLogProbabilities: base, target: target)
    }
  }
}

/// The log-sum-exp of an array.
func logSumExp(_ logits: [Float]) -> Double {
  unsafe logits.withUnsafeBufferPointer { unsafe NextTokenLoss.logSumExp($0) }
}
