import Calibration
import Codecs
import GraphIR
import Kernels
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// Chooses a codec for each weight under a budget of bytes, by what rounding it costs the whole model.
///
/// 1. The unquantized model reads the calibration windows once; every weight is rounded with every candidate, and the
///    output error `tr(E H Eᵀ)` measured.
/// 2. Each weight (or all experts of a projection) alone is rounded with the candidate of the most error that keeps the loss
///    measurable, and the KL divergence of the model's predictions is measured on a few windows. Divergences of small
///    errors are quadratic, so that a candidate's share is this divergence times the ratio of the output errors.
/// 3. ``AllocationSolver`` chooses exactly under the budget.
/// 4. The choice and the best uniform plan of at most its bytes are rounded and measured on other windows; the uniform plan
///    is taken when it is better.
public struct BitAllocation {
  /// The budget.
  public enum Budget: Sendable, Equatable {
    /// Bits of each quantized weight, on average.
    case bitsPerWeight(Double)
    /// Bytes of all weights of the model.
    case byteCount(Int)
  }

  let model: LoadedModel
  let recipe: QuantizationRecipe
  let candidates: [any Codec]
  let budget: Budget
  let pool: ThreadPool
  let kernels: KernelTable
  /// Windows for measuring a weight's share; as many others validate.
  let measuredWindowCount: Int
  /// Why a codec cannot be stored; nil when it can.
  let refusal: (any Codec, Int, Int) -> String?

  /// Prepares an allocation.
  public init(
    model: LoadedModel, recipe: QuantizationRecipe, candidates: [any Codec], budget: Budget, pool: ThreadPool,
    kernels: KernelTable = .best, measuredWindowCount: Int = 4,
    refusal: @escaping (any Codec, Int, Int) -> String? = { _, _, _ in nil }
  ) {
    self.model = model
    self.recipe = recipe
    self.candidates = candidates
    self.budget = budget
    self.pool = pool
    self.kernels = kernels
    self.measuredWindowCount = max(1, measuredWindowCount)
    self.refusal = refusal
  }

  /// Weights that get the same codec.
  private struct Item {
    var names: [String]
    var candidates: [Int] = []
    var bytes: [Int] = []
    var errors: [Double] = []
    var divergence = 0.0
    var reference = 0
  }

  /// The recipe with a choice for each weight, and how it came to be.
  /// - Throws: ``PipelineError``, `CalibrationError`, `QuantizationError`, `ExecutionError`.
  public func run(
    windows: CalibrationWindows, progress: (QuantizationStage.Progress) throws -> Void = { _ in }
  ) throws -> (recipe: QuantizationRecipe, report: AllocationReport) {
    let weights = try model.requireCheckpoint()
    let plan = try QuantizationPlan(recipe: recipe, graph: model.graph, weights: weights)
    var items = try items(plan, weights)
    let byteBudget = try byteBudget(plan, items)
    let moments = try measureErrors(&items, weights, windows, plan) {
      try progress(.init(step: "errors", what: $0, fraction: $1))
    }
    let probe = DivergenceProbe(
      model: model, windows: Array(windows.windows.prefix(measuredWindowCount)), pool: pool, kernels: kernels)
    let base = try probe.base()
    for index in items.indices {
      try progress(
        .init(
          step: "divergences", what: items[index].names[0], fraction: Double(index) / Double(items.count)))
      var replaced: [String: Weight] = [:]
      for name in items[index].names {
        replaced[name] = try rounded(
          name, candidates[items[index].candidates[items[index].reference]], weights, moments)
      }
      items[index].divergence = try probe.divergence(replacing: replaced, base: base)
    }
    let table = items.map { item in
      item.candidates.indices.map { number in
        AllocationSolver.Candidate(
          byteCount: item.bytes[number],
          cost: item.divergence * item.errors[number]
            / max(item.errors[item.reference], .leastNormalMagnitude))
      }
    }
    guard let solution = AllocationSolver.solve(table, budget: byteBudget) else {
      throw PipelineError.usage(
        "even the smallest candidates need more than \(byteBudget) bytes",
        hint: "allow more, or name smaller candidates")
    }
    return try validated(items, table, solution, byteBudget, windows, weights, moments)
  }

  private func items(_ plan: QuantizationPlan, _ weights: OrderedDictionary<String, Weight>) throws -> [Item]
  {
    let chosen = plan.choices
    var result: [Item] = []
    var seen: Set<String> = []
    for node in model.graph.linearNodes {
      let groups = node.experts == nil ? node.weights.map { [$0] } : [node.weights]
      for names in groups {
        let names = names.filter { chosen[$0] != nil && seen.insert($0).inserted }
        guard let first = names.first, let shape = weights[first]?.shape else { continue }
        var item = Item(names: names)
        for (index, codec) in candidates.enumerated()
        where (codec as? any BlockCodec).map({ shape.columns % $0.blockLength == 0 }) ?? true
          && refusal(codec, shape.rows, shape.columns) == nil
        {
          item.candidates.append(index)
          let bits = codec.bitsPerWeight(columns: shape.columns) * Double(shape.elementCount)
          item.bytes.append(Int((bits / 8).rounded()) * names.count)
        }
        guard !item.candidates.isEmpty else {
          throw PipelineError.weight(first, reason: "no candidate can hold it")
        }
        result.append(item)
      }
    }
    return result
  }

  private func byteBudget(_ plan: QuantizationPlan, _ items: [Item]) throws(PipelineError) -> Int {
    let names = Set(items.flatMap(\.names))
    let mine = plan.entries.filter { names.contains($0.name) }
    switch budget {
    case .bitsPerWeight(let bits):
      return Int(bits * Double(mine.reduce(0) { $0 + $1.shape.elementCount }) / 8)
    case .byteCount(let bytes):
      let rest = plan.targetByteCount - mine.reduce(0) { $0 + $1.targetByteCount }
      guard bytes > rest else {
        throw .usage("weights that are not allocated need \(rest) bytes alone", hint: "raise --target-size")
      }
      return bytes - rest
    }
  }

  /// Output error of every candidate, and the mean squares of the inputs.
  private func measureErrors(
    _ items: inout [Item], _ weights: OrderedDictionary<String, Weight>, _ windows: CalibrationWindows,
    _ plan: QuantizationPlan, _ progress: (String, Double) throws -> Void
  ) throws -> [String: [Float]] {
    var moments: [String: [Float]] = [:]
    var errors: [String: [Int: Double]] = [:]
    let itemOfName = Dictionary(
      uniqueKeysWithValues: items.enumerated().flatMap { index, item in item.names.map { ($0, index) } })
    let wanted = items
    let sequential = SequentialCalibration(
      graph: model.graph, windows: windows, targets: Set(itemOfName.keys), collection: .secondMoments,
      minimumExpertTokens: recipe.minimumExpertTokens, pool: pool, kernels: kernels)
    _ = try sequential.run(
      weight: { name in
        guard let weight = weights[name] else {
          throw PipelineError.weight(name, reason: "is not in the checkpoint")
        }
        return weight
      }, progress: { try progress($0.scope, $0.fraction) },
      quantize: { group, observed in
        let statistics = try observed.total()
        let hessian = try statistics.secondMoment.map {
          try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
        }
        for name in group.weights {
          guard let index = itemOfName[name], let weight = weights[name] else { continue }
          moments[name] = statistics.meanSquares
          let problem = LayerProblem(name: name, weights: try weight.decoded(), hessian: hessian)
          for candidate in wanted[index].candidates {
            // Relative to the output's energy, which is the same for all candidates.
            errors[name, default: [:]][candidate] = try RoundToNearest(scaleSearch: .standard).solve(
              problem, codec: candidates[candidate], pool: pool
            ).report.relativeError
          }
        }
        return [:]
      })
    for index in items.indices {
      items[index].errors = items[index].candidates.map { candidate in
        items[index].names.reduce(0) { $0 + (errors[$1]?[candidate] ?? 0) }
      }
      items[index].reference =
        items[index].errors.indices.max { items[index].errors[$0] < items[index].errors[$1] } ?? 0
    }
    return moments
  }

  private func rounded(
    _ name: String, _ codec: any Codec, _ weights: OrderedDictionary<String, Weight>,
    _ moments: [String: [Float]]
  ) throws -> Weight {
    guard let weight = weights[name] else {
      throw PipelineError.weight(name, reason: "is not in the checkpoint")
    }
    let problem = LayerProblem(name: name, weights: try weight.decoded(), importance: moments[name])
    return .encoded(
      try RoundToNearest(scaleSearch: .standard).solve(problem, codec: codec, pool: pool).matrix)
  }

  private func validated(
    _ items: [Item], _ table: [[AllocationSolver.Candidate]], _ solution: [Int], _ byteBudget: Int,
    _ windows: CalibrationWindows, _ weights: OrderedDictionary<String, Weight>, _ moments: [String: [Float]]
  ) throws -> (recipe: QuantizationRecipe, report: AllocationReport) {
    let probe = DivergenceProbe(
      model: model, windows: Array(windows.windows.suffix(measuredWindowCount)), pool: pool, kernels: kernels)
    let base = try probe.base()
    func divergence(_ choice: [Int]) throws -> Double {
      var replaced: [String: Weight] = [:]
      for (item, number) in zip(items, choice) {
        for name in item.names {
          replaced[name] = try rounded(name, candidates[item.candidates[number]], weights, moments)
        }
      }
      return try probe.divergence(replacing: replaced, base: base)
    }
    var report = AllocationReport(
      byteBudget: byteBudget, unit: AllocationSolver.unit(table, budget: byteBudget),
      divergence: try divergence(solution))
    var used = solution
    if let uniform = uniform(items, byteBudget) {
      report.uniformCodec = candidates[uniform.candidate].canonicalName
      report.uniformDivergence = try divergence(uniform.choice)
      if let other = report.uniformDivergence, other < report.divergence {
        report.isUniform = true
        used = uniform.choice
      }
    }
    var result = recipe
    for (item, number) in zip(items, used) {
      let codec = candidates[item.candidates[number]]
      for name in item.names {
        var choice = recipe.choice
        choice.codec = codec
        if choice.methodName == "gptq", !(codec is any ColumnwiseCodec) {
          choice.methodName = "rtn"
          choice.methodOptions = ["scale-search": "least-squares"]
        }
        result.choices[name] = choice
      }
    }
    for (index, item) in items.enumerated() {
      report.weights.append(
        AllocationReport.Weight(
          names: item.names, codec: candidates[item.candidates[used[index]]].canonicalName,
          divergence: table[index][used[index]].cost, byteCount: item.bytes[used[index]]))
    }
    return (result, report)
  }

  /// The candidate that, given to every weight, uses most of the budget.
  private func uniform(_ items: [Item], _ byteBudget: Int) -> (candidate: Int, choice: [Int])? {
    var best: (candidate: Int, choice: [Int], bytes: Int)?
    for candidate in candidates.indices {
      let choice = items.compactMap { $0.candidates.firstIndex(of: candidate) }
      guard choice.count == items.count else { continue }
      let bytes = zip(items, choice).reduce(0) { $0 + $1.0.bytes[$1.1] }
      if bytes <= byteBudget, bytes > best?.bytes ?? 0 { best = (candidate, choice, bytes) }
    }
    return best.map { ($0.candidate, $0.choice) }
  }
}

/// How bits were allocated.
public struct AllocationReport: Sendable {
  /// Weights that share a codec.
  public struct Weight: Sendable {
    /// Their names.
    public var names: [String]
    /// Their codec.
    public var codec: String
    /// The KL divergence that they are expected to cost.
    public var divergence: Double
    /// Their bytes.
    public var byteCount: Int
  }

  /// Bytes that were allowed.
  public var byteBudget: Int
  /// Bytes that the solver counted by.
  public var unit: Int
  /// KL divergence of the allocation, rounded, on windows that it was not made with.
  public var divergence: Double
  /// The uniform plan that it was compared with; nil when none fits.
  public var uniformCodec: String?
  /// KL divergence of that plan on the same windows.
  public var uniformDivergence: Double?
  /// Whether the uniform plan was better and was taken.
  public var isUniform = false
  /// What each weight got.
  public var weights: [Weight] = []

  /// As reports show it.
  public var json: JSONValue {
    [
      "byte_budget": JSONValue(byteBudget), "unit_bytes": JSONValue(unit), "kl_rounded": .number(divergence),
      "uniform_codec": uniformCodec.map { .string($0) } ?? .null,
      "uniform_kl_rounded": uniformDivergence.map { .number($0) } ?? .null, "uniform_taken": .bool(isUniform),
      "weights": .array(
        weights.map { weight in
          [
            "names": .array(weight.names.map { .string($0) }), "codec": .string(weight.codec),
            "kl_expected": .number(weight.divergence), "bytes": JSONValue(weight.byteCount),
          ]
        }),
    ]
  }
}
