import Execution
import Testing

@Suite struct SamplerTests {
  private func counts(_ logits: [Float], _ options: SamplingOptions, draws: Int = 20_000) -> [Double] {
    var sampler = Sampler(options)
    var counts = [Int](repeating: 0, count: logits.count)
    for _ in 0..<draws { counts[Int(sampler.sample(logits.span))] += 1 }
    return counts.map { Double($0) / Double(draws) }
  }

  @Test func greedyTakesTheLikeliestAndTheLowerOfTwo() {
    var sampler = Sampler(.greedy)
    #expect(sampler.sample([1, 3, 2, 3].span) == 1)
    #expect(sampler.sample([.nan, -1, .nan, -0.5].span) == 3)
    #expect(sampler.sample([.nan, .nan].span) == 1 || sampler.sample([.nan, .nan].span) == 0)
    #expect(sampler.sample([-.infinity, -.infinity].span) == 0)
    #expect(Sampler.likeliest([.infinity, 1].span) == 0)
    var cold = Sampler(SamplingOptions(temperature: 0, topK: 0, topP: 1, seed: 5))
    #expect(cold.sample([0, 0, 7].span) == 2)
  }

  @Test func frequenciesFollowTheSoftmax() {
    // exp of the logits: 1, 2, 4, 8.
    let logits: [Float] = [0, 0.693_147, 1.386_294, 2.079_442]
    let plain = counts(logits, SamplingOptions(temperature: 1, topK: 0, topP: 1, seed: 1))
    for (found, expected) in zip(plain, [1.0 / 15, 2.0 / 15, 4.0 / 15, 8.0 / 15]) {
      #expect(abs(found - expected) < 0.015)
    }
    let warm = counts(logits, SamplingOptions(temperature: 2, topK: 0, topP: 1, seed: 2))
    let roots = [1, 2.0.squareRoot(), 2, 8.0.squareRoot()]
    for (found, root) in zip(warm, roots) { #expect(abs(found - root / roots.reduce(0, +)) < 0.015) }
  }

  @Test func topKKeepsTheLikeliest() {
    let found = counts([0, 2, 1, 2], SamplingOptions(temperature: 1, topK: 2, topP: 1, seed: 3))
    #expect(found[0] == 0 && found[2] == 0)
    #expect(abs(found[1] - 0.5) < 0.02)
    // Ties at the border go to the lower token.
    let tied = counts([1, 1, 1, 1], SamplingOptions(temperature: 1, topK: 3, topP: 1, seed: 3))
    #expect(tied[3] == 0 && tied[2] > 0.3)
    #expect(counts([0, 5], SamplingOptions(temperature: 1, topK: 1, topP: 1), draws: 50)[1] == 1)
    #expect(counts([0, 0], SamplingOptions(temperature: 1, topK: 99, topP: 1), draws: 500)[0] > 0)
  }

  @Test func topPKeepsTheSmallestSetThatIsLikelyEnough() {
    // Probabilities 8/15, 4/15, 2/15, 1/15.
    let logits: [Float] = [2.079_442, 1.386_294, 0.693_147, 0]
    #expect(counts(logits, SamplingOptions(temperature: 1, topK: 0, topP: 0.5, seed: 4))[0] == 1)
    let two = counts(logits, SamplingOptions(temperature: 1, topK: 0, topP: 0.75, seed: 4))
    #expect(two[2] == 0 && two[3] == 0 && abs(two[0] - 2.0 / 3) < 0.02)
    #expect(counts(logits, SamplingOptions(temperature: 1, topK: 0, topP: 1e-9, seed: 4))[0] == 1)
  }

  @Test func equalSeedsChooseEqually() {
    let logits = (0..<50).map { Float($0 % 7) / 3 }
    func choices(_ seed: UInt64) -> [Int32] {
      var sampler = Sampler(SamplingOptions(temperature: 1.2, topK: 20, topP: 0.9, seed: seed))
      return (0..<100).map { _ in sampler.sample(logits.span) }
    }
    #expect(choices(7) == choices(7))
    #expect(choices(7) != choices(8))
  }

  @Test func infinitiesAndNothingDoNotTrap() {
    for logits: [Float] in [[], [.nan], [.infinity, .infinity, 0], [-.infinity], [.nan, 1], [1e38, -1e38]] {
      for temperature: Float in [0, 1e-38, 1, 1e38] {
        var sampler = Sampler(SamplingOptions(temperature: temperature, topK: 0, topP: 1))
        let token = Int(sampler.sample(logits.span))
        #expect(token >= 0 && token < max(1, logits.count))
      }
    }
  }
}
