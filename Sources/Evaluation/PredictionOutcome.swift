import Glibc

/// What one prediction says about a model and, where there is a base, about the distance between the two.
public struct PredictionOutcome: Sendable, Equatable, BitwiseCopyable {
  /// Loss of the model in nats.
  public var loss: Double
  /// Loss of the base in nats; 0 without a base.
  public var baseLoss: Double = 0
  /// Kullback-Leibler divergence of the model's distribution from the base's, in nats; 0 without a base.
  public var divergence: Double = 0
  /// Whether the base and the model hold the same token to be the likeliest (of equals the first).
  public var agrees: Bool = true

  /// Whether both rows were distributions.
  public var isUsable: Bool { !loss.isNaN && !baseLoss.isNaN && !divergence.isNaN }

  /// The outcome without a base.
  public init(logits: UnsafeBufferPointer<Float>, target: Int) {
    loss = unsafe NextTokenLoss.loss(logits, target: target)
  }

  /// The outcome against a base of which all logits are known: sum of p (log p - log q) over the whole
  /// vocabulary.
  ///
  /// Equal rows give exactly zero; the sum is never negative. A token that the base masks adds nothing; one
  /// that only the model masks makes the divergence infinite.
  public init(logits: UnsafeBufferPointer<Float>, baseLogits: UnsafeBufferPointer<Float>, target: Int) {
    let model = unsafe LogitRow(logits)
    let base = unsafe LogitRow(baseLogits)
    precondition(model.count == base.count, "rows of different vocabularies")
    let (modelMaximum, modelBest) = model.maximum()
    let (baseMaximum, baseBest) = base.maximum()
    let lowest = SIMD8<Double>(repeating: VectorExponential.smallestArgument)
    let modelShift = SIMD8<Double>(repeating: Double(modelMaximum))
    let baseShift = SIMD8<Double>(repeating: Double(baseMaximum))
    var modelSums = SIMD8<Double>.zero
    var baseSums = SIMD8<Double>.zero
    var crossSums = SIMD8<Double>.zero
    for index in 0..<model.groupCount {
      let modelLogits = SIMD8<Double>(exactly: model.group(index)) - modelShift
      let baseLogits = SIMD8<Double>(exactly: base.group(index)) - baseShift
      let weights = VectorExponential.of(baseLogits)
      var differences = baseLogits - modelLogits
      differences.replace(with: 0, where: baseLogits .<= lowest)
      modelSums += VectorExponential.of(modelLogits)
      baseSums += weights
      crossSums += weights * differences
    }
    let modelLog = log(modelSums.sum())
    let baseLog = log(baseSums.sum())
    loss = modelLog - (Double(model[target]) - Double(modelMaximum))
    baseLoss = baseLog - (Double(base[target]) - Double(baseMaximum))
    let exact = crossSums.sum() / baseSums.sum() + modelLog - baseLog
    // Below zero there is only rounding.
    divergence = exact < 0 ? 0 : exact
    agrees = modelBest == baseBest
  }

  /// The outcome against rounded log-probabilities from a base file, by llama-perplexity's rule: tokens
  /// whose log-probability is above -16 count, with the weights as they stand in the file. The divergence
  /// can come out slightly below zero.
  public init(
    logits: UnsafeBufferPointer<Float>, baseLogProbabilities: UnsafeBufferPointer<Float>, target: Int
  ) {
    let model = unsafe LogitRow(logits)
    let base = unsafe LogitRow(baseLogProbabilities)
    precondition(model.count == base.count, "rows of different vocabularies")
    let (modelMaximum, modelBest) = model.maximum()
    let modelShift = SIMD8<Double>(repeating: Double(modelMaximum))
    let floor = SIMD8<Double>(repeating: -16)
    var modelSums = SIMD8<Double>.zero
    var weightSums = SIMD8<Double>.zero
    var crossSums = SIMD8<Double>.zero
    for index in 0..<model.groupCount {
      let modelLogits = SIMD8<Double>(exactly: model.group(index)) - modelShift
      let baseLogs = SIMD8<Double>(exactly: base.group(index))
      var weights = VectorExponential.of(baseLogs)
      var differences = baseLogs - modelLogits
      weights.replace(with: 0, where: baseLogs .<= floor)
      differences.replace(with: 0, where: baseLogs .<= floor)
      modelSums += VectorExponential.of(modelLogits)
      weightSums += weights
      crossSums += weights * differences
    }
    let modelLog = log(modelSums.sum())
    loss = modelLog - (Double(model[target]) - Double(modelMaximum))
    baseLoss = -Double(base[target])
    divergence = crossSums.sum() + weightSums.sum() * modelLog
    agrees = modelBest == base.maximum().index
  }
}
