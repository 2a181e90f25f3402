import Codecs
import Pipeline
import Quantization
import TensorCore
import TestSupport
import Testing

@Suite struct BitAllocationTests {
  @Test(arguments: UInt64(1)...20) func solverIsExact(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let items = (0..<5).map { _ in
      (0..<3).map { _ in
        AllocationSolver.Candidate(
          byteCount: Int.random(in: 1...40, using: &generator),
          cost: Double.random(in: 0...10, using: &generator))
      }
    }
    let budget = Int.random(in: 20...160, using: &generator)
    var best: Double?
    for number in 0..<243 {
      var (rest, bytes, cost) = (number, 0, 0.0)
      for item in items {
        bytes += item[rest % 3].byteCount
        cost += item[rest % 3].cost
        rest /= 3
      }
      if bytes <= budget { best = min(best ?? .infinity, cost) }
    }
    let found = AllocationSolver.solve(items, budget: budget)
    #expect((found == nil) == (best == nil), "seed \(seed)")
    guard let found, let best else { return }
    let cost = zip(items, found).reduce(0) { $0 + $1.0[$1.1].cost }
    #expect(abs(cost - best) < 1e-9, "seed \(seed)")
    #expect(zip(items, found).reduce(0) { $0 + $1.0[$1.1].byteCount } <= budget)
  }

  @Test func largeBudgetsAreCutIntoUnitsAndKept() {
    let items = (0..<40).map { item in
      (1...3).map {
        AllocationSolver.Candidate(byteCount: 1_000_003 * $0 + item, cost: Double(item) / Double($0))
      }
    }
    let budget = 80_000_000
    #expect(AllocationSolver.unit(items, budget: budget) > 1)
    let found = AllocationSolver.solve(items, budget: budget)
    let bytes = found.map { zip(items, $0).reduce(0) { $0 + $1.0[$1.1].byteCount } } ?? .max
    #expect(bytes <= budget && bytes > 70_000_000)
    #expect(AllocationSolver.solve(items, budget: 30_000_000) == nil)
  }

  @Test func modelsAreAllocatedUnderTheBudget() throws {
    let output = TemporaryDirectory()
    try TestModels.writeTiny(to: output)
    let tiny = try ModelFormats.load(output.path)
    let candidates = try ["int2-g32-sym", "int3-g32-sym", "int4-g32-sym", "int8-g32-sym"].map {
      try CodecRegistry.codec(canonicalName: $0)
    }
    let recipe = try TestModels.recipe("rtn", options: ["scale-search": "least-squares"])
    for bits in [3.6, 4.6] {
      let (result, report) = try BitAllocation(
        model: tiny, recipe: recipe, candidates: candidates, budget: .bitsPerWeight(bits),
        pool: TestModels.pool,
        measuredWindowCount: 2
      ).run(windows: TestModels.tinyWindows())
      let plan = try QuantizationPlan(recipe: result, graph: tiny.graph, weights: tiny.requireCheckpoint())
      #expect(plan.bitsPerWeight <= bits && plan.bitsPerWeight > bits - 0.7)
      #expect(report.weights.count == 14 && report.uniformDivergence != nil)
      #expect(report.isUniform == (report.uniformDivergence.map { $0 < report.divergence } ?? false))
      #expect(Set(report.weights.map(\.codec)).count > 1 || report.isUniform)
      #expect(try TestModels.quantized(tiny, result).reports.count == 14)
    }
    let failure = TestModels.failure {
      _ = try BitAllocation(
        model: tiny, recipe: recipe, candidates: candidates, budget: .bitsPerWeight(1.5),
        pool: TestModels.pool
      ).run(windows: TestModels.tinyWindows())
    }
    #expect(failure?.status == .usage)
  }
}
