import Calibration
import Codecs
import GraphIR
import Kernels
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// Where a method's knowledge of the inputs comes from.
public enum CalibrationSource: Sendable {
  /// Nothing is known.
  case none
  /// Windows of tokens, read block by block through the model as it is being quantized.
  case windows(CalibrationWindows)
  /// Statistics that the unquantized model gave earlier.
  case statistics(StatisticsFile, digest: String)
}

/// Quantizes a model: a value in, a value out.
public struct QuantizationStage {
  /// How far it is.
  public struct Progress: Sendable {
    /// The part of the work: a transform, `weights`, `learned-rounding` or what else the recipe asks for, one after another.
    public let step: String
    /// What is being worked on.
    public let what: String
    /// Share of the step done, 0...1.
    public let fraction: Double

    static let weights = "weights"

    init(step: String, what: String, fraction: Double) {
      self.step = step
      self.what = what
      self.fraction = fraction
    }

    /// A weight by its number among all.
    init(_ weight: String, _ index: Int, of count: Int) {
      self.init(step: Self.weights, what: weight, fraction: Double(index) / Double(count))
    }
  }

  let model: LoadedModel
  let recipe: QuantizationRecipe
  let pool: ThreadPool
  let kernels: KernelTable

  /// Prepares the stage.
  public init(model: LoadedModel, recipe: QuantizationRecipe, pool: ThreadPool, kernels: KernelTable = .best)
  {
    self.model = model
    self.recipe = recipe
    self.pool = pool
    self.kernels = kernels
  }

  /// Runs the stage.
  /// - Parameter journal: where finished layers are kept, and taken from when an interrupted run left some there.
  /// - Throws: ``PipelineError``, `QuantizationError`, `CalibrationError` and what lies below.
  public func run(
    calibration: CalibrationSource, journal: QuantizationJournal? = nil,
    progress: @escaping (Progress) throws -> Void = { _ in }
  ) throws -> QuantizedModel {
    let need = try recipe.methodNeed()
    if recipe.hasStaticActivations, case .none = calibration {
      throw PipelineError.usage(
        "static scales of inputs need calibration", hint: "give --corpus FILE or --statistics FILE")
    }
    if recipe.hasStaticCache {
      guard case .windows = calibration else {
        throw PipelineError.usage(
          "static scales of the cache need text that keys and values are looked at with",
          hint: "give --corpus FILE")
      }
    }
    try refuseStaleCache()
    let plainWeights = try self.model.requireCheckpoint()
    let given = calibration
    let (model, calibration, transforms) = try transformed(calibration, progress)
    let weights = try model.requireCheckpoint()
    if recipe.learnedRounding != nil {
      guard case .windows = calibration else { throw PipelineError.learningNeedsWindows }
    }
    let plan = try QuantizationPlan(recipe: recipe, graph: model.graph, weights: weights)
    try refuseQuantizedSources(plan, weights)
    var work = Work(weights: weights, original: weights, plan: plan, journal: journal)
    switch calibration {
    case .windows(let windows) where need != .none:
      try calibrated(model, windows, need, &work, progress)
    case .statistics(let file, _) where need != .none:
      work.experts = try file.expertCoverage(of: model.graph)
      try fromStatistics(file, &work, progress)
    default:
      try withoutCalibration(plan.selected, &work, progress)
    }
    try checkFallbacks(work.reports)
    let blocks = try learnRounding(model, calibration, &work, progress)
    let inputs = try calibrateActivations(
      model, work.plan, given.isWindows ? given : calibration, work.weights,
      plain: transforms.isEmpty ? nil : plainWeights, progress)
    let (cache, cacheReports) = try calibrateCache(
      model, given, weight: { try Self.weight($0, in: work.weights) }, progress)
    let isCalibrated =
      need != .none || recipe.transformsReadInputs || recipe.learnedRounding != nil || !inputs.reports.isEmpty
      || recipe.hasStaticActivations || recipe.hasStaticCache
    return QuantizedModel(
      source: model, weights: work.weights, recipe: recipe, reports: work.reports, blockReports: blocks,
      calibration: isCalibrated ? calibration.description : nil, experts: work.experts,
      transforms: transforms,
      activations: inputs.activations, activationReports: inputs.reports, cache: cache,
      cacheReports: cacheReports)
  }

  private func calibrateActivations(
    _ model: LoadedModel, _ plan: QuantizationPlan, _ calibration: CalibrationSource,
    _ weights: OrderedDictionary<String, Weight>, plain: OrderedDictionary<String, Weight>?,
    _ progress: (Progress) throws -> Void
  ) throws -> ActivationCalibration.Result {
    try ActivationCalibration(
      graph: model.graph, recipe: recipe, choices: plan.choices, pool: pool, kernels: kernels
    ).run(
      calibration, weight: { try Self.weight($0, in: weights) },
      plain: plain.map { weights in (self.model.graph, { try Self.weight($0, in: weights) }) },
      progress: progress)
  }

  /// Learned rounding over all blocks, when the recipe asks for it.
  private func learnRounding(
    _ model: LoadedModel, _ calibration: CalibrationSource, _ work: inout Work,
    _ progress: (Progress) throws -> Void
  ) throws -> [BlockReport] {
    guard let learning = recipe.learnedRounding else { return [] }
    guard case .windows(let windows) = calibration else { throw PipelineError.learningNeedsWindows }
    var matrices: [String: EncodedMatrix] = [:]
    for report in work.reports {
      if case .encoded(let matrix) = work.weights[report.layer] { matrices[report.layer] = matrix }
    }
    let (original, journal) = (work.original, work.journal)
    let division = LearningWindows(learned: learning.windows, of: windows.windows.count)
    let stage = LearnedRoundingStage(
      graph: model.graph, method: learning, windows: division.chosen.map { windows.windows[$0] },
      division: division,
      own: journal?.learned[ModelLearning.block] == nil
        ? try selfGenerated(learning.modelSelfGenerated, windows.learned(of: division), progress) : [],
      pool: pool)
    let blocks = try stage.run(
      original: { name in try Self.weight(name, in: original) }, matrices: &matrices,
      known: { journal?.learned[$0] },
      progress: { try progress(Progress(step: LearnedRounding.name, what: $0, fraction: $1)) },
      finished: { try journal?.record($0) })
    for (name, matrix) in matrices { work.weights[name] = .encoded(matrix) }
    let changed = Set(blocks.filter { !$0.keptStart }.flatMap(\.layers))
    for index in work.reports.indices where changed.contains(work.reports[index].layer) {
      work.reports[index].method += "," + LearnedRounding.name
    }
    return blocks
  }

  /// Windows that the model writes as it was given.
  private func selfGenerated(
    _ count: Int, _ text: CalibrationWindows, _ progress: (Progress) throws -> Void
  ) throws -> [[Int32]] {
    guard count > 0 else { return [] }
    return try SelfGeneratedText(model, threadCount: pool.threadCount, kernels: kernels).windows(
      count, after: text
    ) {
      try progress(Progress(step: SelfGeneratedText.name, what: "", fraction: $0))
    }.windows.suffix(count)
  }

  /// Opens the journal of this work, or begins it. Its identity is everything that the values of the layers depend on.
  /// - Throws: ``PipelineError/foreignJournal(path:key:expected:found:)``, `JournalError`, `SafeIOError`.
  public func journal(at path: String, calibration: CalibrationSource) throws -> QuantizationJournal {
    let configuration = Checksum.sha256(Array(model.configuration.serialized().utf8))
    return try QuantizationJournal(
      path: path,
      identity: [
        "weights": .string(try model.weightsDigest()), "configuration": .string(configuration.hexadecimal),
        "recipe": recipe.json, "calibration": calibration.description?.json ?? .null,
        "version": .string(AdzeVersion.current),
      ])
  }

  private struct Work {
    var weights: OrderedDictionary<String, Weight>
    let original: OrderedDictionary<String, Weight>
    let plan: QuantizationPlan
    let journal: QuantizationJournal?
    var reports: [LayerReport] = []
    var experts: [ExpertCoverage] = []

    /// Takes over what is known of layers already; nil when it is not all of them.
    mutating func resume(_ layers: [String]) -> [String: Weight]? {
      guard let solutions = journal?.solutions(of: layers) else { return nil }
      return adopt(solutions)
    }

    /// Takes over new solutions and keeps them in the journal.
    @discardableResult
    mutating func finish(_ solutions: [LayerSolution]) throws -> [String: Weight] {
      try journal?.record(solutions)
      return adopt(solutions)
    }

    private mutating func adopt(_ solutions: [LayerSolution]) -> [String: Weight] {
      for solution in solutions {
        weights[solution.report.layer] = .encoded(solution.matrix)
        reports.append(solution.report)
      }
      return Dictionary(uniqueKeysWithValues: solutions.map { ($0.report.layer, .encoded($0.matrix)) })
    }
  }

  private func refuseQuantizedSources(
    _ plan: QuantizationPlan, _ weights: OrderedDictionary<String, Weight>
  ) throws {
    for name in plan.selected {
      guard case .encoded(let matrix) = weights[name] else { continue }
      throw PipelineError.weight(
        name,
        reason:
          "is quantized already (\(matrix.codec.canonicalName)); quantizing twice adds the errors of both")
    }
  }

  /// Windows run through the model; every group is quantized on its inputs as the quantized layers before make them.
  private func calibrated(
    _ model: LoadedModel, _ windows: CalibrationWindows, _ need: StatisticsNeed, _ work: inout Work,
    _ progress: (Progress) throws -> Void
  ) throws {
    let linear = Set(model.graph.linearNodes.flatMap(\.weights))
    let plan = work.plan
    let sequential = SequentialCalibration(
      graph: model.graph, windows: windows, targets: Set(plan.selected).intersection(linear),
      collection: collection(for: need), minimumExpertTokens: recipe.minimumExpertTokens, pool: pool,
      kernels: kernels)
    let original = work.original
    work.experts = try sequential.run(
      weight: { name in try Self.weight(name, in: original) },
      progress: { try progress(Progress(step: Progress.weights, what: $0.scope, fraction: $0.fraction)) },
      finished: { group in work.resume(group.weights) },
      quantize: { group, observed in
        let statistics = try observed.total()
        let hessian = try statistics.secondMoment.map {
          try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
        }
        let drift = try inputDrift(statistics, layer: group.weights[0])
        let solutions = try group.weights.map { name in
          let weight = try Self.weight(name, in: work.weights)
          if group.expert != nil, statistics.tokenCount == 0 { return try roundUnseen(name, plan, weight) }
          let solution = try solve(
            name, plan, weight, hessian: hessian, importance: statistics.meanSquares, drift: drift)
          return work.reports.isEmpty ? solution.withNothingToCorrect() : solution
        }
        return try work.finish(solutions)
      })
    try withoutCalibration(plan.selected.filter { !linear.contains($0) }, &work) { _ in }
    let missed = Set(plan.selected).subtracting(work.reports.map(\.layer))
    guard missed.isEmpty else { throw CalibrationError.neverReached(missed.sorted()) }
  }

  /// What is undone does not depend on the scale of the sums, so they are used as they are.
  private func inputDrift(_ statistics: InputStatistics, layer: String) throws -> InputDrift? {
    guard let cross = statistics.driftSum, let moment = statistics.driftMomentSum else { return nil }
    let hessian = try Hessian(
      size: statistics.columns, values: moment, tokenCount: statistics.driftTokenCount)
    return try InputDrift(cross: cross, hessian: hessian, layer: layer, pool: pool)
  }

  private func collection(for need: StatisticsNeed) -> SequentialCalibration.Collection {
    switch need {
    case .none, .moments: .moments
    case .hessian: .secondMoments
    case .drift: .secondMomentsAndDrift
    }
  }

  private func fromStatistics(
    _ file: StatisticsFile, _ work: inout Work, _ progress: (Progress) throws -> Void
  ) throws {
    let linear = Set(model.graph.linearNodes.flatMap(\.weights))
    for (index, name) in work.plan.selected.enumerated() {
      try progress(Progress(name, index, of: work.plan.selected.count))
      if work.resume([name]) != nil { continue }
      guard linear.contains(name) else {
        try withoutCalibration([name], &work) { _ in }
        continue
      }
      guard let statistics = try file.statistics(for: name) else {
        throw CalibrationError.neverReached([name])
      }
      if statistics.tokenCount == 0 {
        try work.finish([roundUnseen(name, work.plan, Self.weight(name, in: work.weights))])
        continue
      }
      let hessian = try statistics.secondMoment.map {
        try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
      }
      let solution = try solve(
        name, work.plan, Self.weight(name, in: work.weights), hessian: hessian,
        importance: statistics.meanSquares)
      try work.finish([solution])
    }
  }

  /// Rounds weights whose inputs nothing is known of, and such as are looked up and not multiplied.
  private func withoutCalibration(
    _ names: [String], _ work: inout Work, _ progress: (Progress) throws -> Void
  ) throws {
    let linear = Set(model.graph.linearNodes.flatMap(\.weights))
    for (index, name) in names.enumerated() {
      try progress(Progress(name, index, of: names.count))
      if work.resume([name]) != nil { continue }
      let weight = try Self.weight(name, in: work.weights)
      guard linear.contains(name) else {
        try work.finish([round(name, work.plan, weight)])
        continue
      }
      try work.finish([solve(name, work.plan, weight, hessian: nil, importance: nil)])
    }
  }

  /// Rounds an expert that no token of the corpus went to; reported as a layer that fell back.
  private func roundUnseen(_ name: String, _ plan: QuantizationPlan, _ weight: Weight) throws -> LayerSolution
  {
    let solution = try round(name, plan, weight)
    var report = solution.report
    report.fallback = "no token of the corpus reaches it"
    return LayerSolution(matrix: solution.matrix, report: report)
  }

  private func round(_ name: String, _ plan: QuantizationPlan, _ weight: Weight) throws -> LayerSolution {
    try RoundToNearest(scaleSearch: .standard).solve(
      LayerProblem(name: name, weights: weight.decoded()), codec: plan.choice(name).codec, pool: pool)
  }

  private func solve(
    _ name: String, _ plan: QuantizationPlan, _ weight: Weight, hessian: Hessian?, importance: [Float]?,
    drift: InputDrift? = nil
  ) throws -> LayerSolution {
    let choice = try plan.choice(name)
    return try choice.method().solve(
      LayerProblem(
        name: name, weights: weight.decoded(), hessian: hessian, importance: importance, drift: drift),
      codec: choice.codec, pool: pool)
  }

  private static func weight(_ name: String, in weights: OrderedDictionary<String, Weight>) throws -> Weight {
    guard let weight = weights[name] else {
      throw PipelineError.weight(name, reason: "is not in the checkpoint")
    }
    return weight
  }

  private func checkFallbacks(_ reports: [LayerReport]) throws {
    let fallen = reports.filter { $0.fallback != nil }
    guard Double(fallen.count) > recipe.maximumFallbackShare * Double(reports.count) else { return }
    throw PipelineError.tooManyFallbacks(
      count: fallen.count, total: reports.count, allowedShare: recipe.maximumFallbackShare,
      layers: fallen.map { "\($0.layer) (\($0.fallback ?? ""))" })
  }
}

extension LayerSolution {
  /// The solution of a layer before which nothing is quantized, so that its inputs are those of the unquantized model.
  fileprivate func withNothingToCorrect() -> LayerSolution {
    var report = report
    report.uncorrected = nil
    return LayerSolution(matrix: matrix, report: report)
  }
}

extension CalibrationSource {
  /// Whether inputs can be looked at.
  fileprivate var isWindows: Bool { if case .windows = self { true } else { false } }

  /// What reports and journals say of it.
  var description: CalibrationDescription? {
    switch self {
    case .none: nil
    case .windows(let windows):
      CalibrationDescription(
        windowCount: windows.windows.count, selfGeneratedCount: windows.selfGeneratedCount,
        tokenCount: windows.tokenCount, digest: windows.digest)
    case .statistics(let file, let digest):
      CalibrationDescription(windowCount: file.windowCount, tokenCount: file.tokenCount, digest: digest)
    }
  }
}

extension CalibrationWindows {
  /// Those that are learned from: what goes on from others would tell of the windows that judge.
  fileprivate func learned(of division: LearningWindows) -> CalibrationWindows {
    let places = division.chosen.prefix(division.learnedCount)
    return CalibrationWindows(
      windows: places.map { windows[$0] }, firstNumber: firstNumber,
      selfGeneratedCount: places.count { $0 >= windows.count - selfGeneratedCount })
  }

  /// SHA-256 of all tokens, windows separated by their lengths.
  public var digest: String {
    var checksum = Checksum()
    for window in windows {
      checksum.update(withBytes(UInt64(window.count)))
      checksum.update(window.flatMap { withBytes(UInt32(bitPattern: $0)) })
    }
    return checksum.finish().hexadecimal
  }

  private func withBytes(_ value: some FixedWidthInteger) -> [UInt8] {
    (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }
}
