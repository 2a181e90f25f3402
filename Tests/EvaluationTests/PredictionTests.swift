import Evaluation
import Glibc
import TestSupport
import Testing

@Suite("Outcomes of single predictions")
struct PredictionTests {
  @Test(
    "log-sum-exp of equal logits is the logarithm of their number",
    arguments: [1, 2, 7, 8, 9, 16, 1000, 16384])
  func equalLogits(count: Int) {
    let logits = [Float](repeating: 3, count: count)
    #expect(ReferenceStatistics.agree(logSumExp(logits), 3 + log(Double(count))))
    #expect(ReferenceStatistics.agree(outcome(logits, target: count - 1).loss, log(Double(count))))
  }

  @Test("A distribution of known probabilities")
  func knownProbabilities() {
    let probabilities: [Double] = [0.5, 0.25, 0.125, 0.125]
    let logits = probabilities.map { Float(log($0)) }
    for (target, probability) in probabilities.enumerated() {
      #expect(abs(outcome(logits, target: target).loss + log(probability)) < 1e-6)
    }
  }

  @Test("The divergence of a fair coin from a loaded one, by hand")
  func coins() {
    // p = (1/2, 1/2), q = (1/4, 3/4): 1/2 ln 2 + 1/2 ln (2/3) = ln 2 - 1/2 ln 3
    let base: [Float] = [0, 0]
    let model: [Float] = [0, Float(log(3.0))]
    let result = outcome(model, base: base, target: 0)
    #expect(abs(result.divergence - (log(2.0) - 0.5 * log(3.0))) < 1e-7)
    #expect(abs(result.loss - log(4.0)) < 1e-7)
    #expect(abs(result.baseLoss - log(2.0)) < 1e-15)
    #expect(!result.agrees)
  }

  @Test("Random rows agree with plain loops", arguments: [1, 2, 5, 8, 13, 64, 257, 4096])
  func randomRows(count: Int) {
    let seed = UInt64(count)
    var generator = SeededGenerator(seed: seed)
    for spread: Float in [0.001, 1, 10, 100] {
      let base = generator.normals(count).map { $0 * spread }
      let model = base.map { $0 + generator.normal() * spread * 0.1 }
      let target = Int.random(in: 0..<count, using: &generator)
      let result = outcome(model, base: base, target: target)
      let p = ReferenceStatistics.logProbabilities(base)
      let q = ReferenceStatistics.logProbabilities(model)
      let divergence = ReferenceStatistics.divergence(base: base, model: model)
      #expect(ReferenceStatistics.agree(result.loss, -q[target]), "seed \(seed), spread \(spread)")
      #expect(ReferenceStatistics.agree(result.baseLoss, -p[target]), "seed \(seed), spread \(spread)")
      #expect(ReferenceStatistics.agree(result.divergence, divergence), "seed \(seed), spread \(spread)")
      #expect(result.loss == outcome(model, target: target).loss, "seed \(seed), spread \(spread)")
      #expect(result.agrees == (p.firstIndex(of: p.max() ?? 0) == q.firstIndex(of: q.max() ?? 0)))
    }
  }

  @Test("Equal rows have no divergence at all, and shifted ones next to none")
  func identity() {
    var generator = SeededGenerator(seed: 5)
    let logits = generator.normals(1003).map { $0 * 8 }
    let same = outcome(logits, base: logits, target: 4)
    #expect(same.divergence == 0)
    #expect(same.loss == same.baseLoss)
    #expect(same.agrees)
    let shifted = outcome(logits.map { $0 + 64 }, base: logits, target: 4)
    #expect(shifted.divergence >= 0 && shifted.divergence < 1e-9)
  }

  @Test("The first of equal logits is the likeliest token")
  func ties() {
    var model = [Float](repeating: 0, count: 40)
    var base = model
    model[11] = 2
    model[30] = 2
    base[11] = 5
    #expect(outcome(model, base: base, target: 0).agrees)
    base[11] = 0
    base[30] = 5
    #expect(!outcome(model, base: base, target: 0).agrees)
  }

  @Test("Enormous logits neither overflow nor lose the answer")
  func extremes() {
    let logits: [Float] = [1e30, -1e30, 1e30, 0]
    #expect(ReferenceStatistics.agree(outcome(logits, target: 0).loss, log(2.0)))
    #expect(outcome(logits, target: 1).loss.isFinite)
    let result = outcome(logits, base: logits, target: 2)
    #expect(result.divergence == 0 && result.isUsable)
    let small = [Float](repeating: -1e30, count: 9)
    #expect(ReferenceStatistics.agree(outcome(small, base: small, target: 0).loss, log(9.0)))
  }

  @Test("Masked tokens")
  func masks() {
    let mask = -Float.infinity
    let both = outcome([1, mask, 1], base: [0, mask, 0], target: 0)
    #expect(both.divergence == 0)
    #expect(ReferenceStatistics.agree(both.loss, log(2.0)))
    let baseOnly = outcome([0, 0, 0], base: [0, mask, 0], target: 0)
    #expect(ReferenceStatistics.agree(baseOnly.divergence, log(1.5)))
    let modelOnly = outcome([0, mask, 0], base: [0, 0, 0], target: 0)
    #expect(modelOnly.divergence == .infinity)
    #expect(outcome([0, mask, 0], target: 1).loss == .infinity)
  }

  @Test("Rows that are no distributions are recognised")
  func unusable() {
    #expect(!outcome([0, .nan, 0], target: 0).isUsable)
    #expect(!outcome([0, .infinity, 0], target: 0).isUsable)
    #expect(!outcome([-.infinity, -.infinity], target: 0).isUsable)
    #expect(!outcome([0, 0], base: [0, .nan], target: 0).isUsable)
    #expect(!outcome([0, .nan], base: [0, 0], target: 0).isUsable)
    #expect(!outcome([.nan], target: 0).isUsable)
    #expect(outcome([0], target: 0).isUsable)
  }

  @Test("Kept log-probabilities give the same divergence, less what lies below -16")
  func stored() {
    var generator = SeededGenerator(seed: 77)
    let base = generator.normals(333)
    let model = base.map { $0 + generator.normal() * 0.2 }
    let kept = ReferenceStatistics.logProbabilities(base).map { Float($0) }
    let exact = outcome(model, base: base, target: 3)
    let result = outcome(model, stored: kept, target: 3)
    #expect(abs(result.divergence - exact.divergence) < 1e-6)
    #expect(result.loss == exact.loss)
    #expect(abs(result.baseLoss - exact.baseLoss) < 1e-6)
    #expect(result.agrees == exact.agrees)
    // The second token is below the floor and must not count, however far off the model is there.
    let cut = outcome([0, 50], stored: [0, -16.5], target: 0)
    #expect(abs(cut.divergence - 50) < 1e-9)
  }
}
