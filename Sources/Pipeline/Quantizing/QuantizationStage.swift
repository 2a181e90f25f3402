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
    /// What is being worked on.
    public let what: String
    /// Share of all work done, 0...1.
    public let fraction: Double
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
    let weights = try model.requireCheckpoint()
    let method = try recipe.method()
    let plan = try QuantizationPlan(recipe: recipe, graph: model.graph, weights: weights)
    try refuseQuantizedSources(plan, weights)
    var work = Work(weights: weights, journal: journal)
    switch calibration {
    case .windows(let windows) where method.need != .none:
      try calibrated(plan, method, windows, &work, progress)
    case .statistics(let file, _) where method.need != .none:
      try fromStatistics(plan, method, file, &work, progress)
    default:
      try withoutCalibration(plan, method, &work, progress)
    }
    try checkFallbacks(work.reports)
    return QuantizedModel(
      source: model, weights: work.weights, recipe: recipe, reports: work.reports,
      calibration: method.need == .none ? nil : calibration.description)
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
    let journal: QuantizationJournal?
    var reports: [LayerReport] = []

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
    _ plan: QuantizationPlan, _ method: any QuantizationMethod, _ windows: CalibrationWindows,
    _ work: inout Work,
    _ progress: (Progress) throws -> Void
  ) throws {
    let sequential = SequentialCalibration(
      graph: model.graph, windows: windows, targets: Set(plan.selected),
      collection: method.need == .hessian ? .secondMoments : .moments, pool: pool, kernels: kernels)
    try sequential.run(
      weight: { name in try Self.weight(name, in: work.weights) },
      progress: { try progress(Progress(what: $0.scope, fraction: $0.fraction)) },
      finished: { group in work.resume(group.weights) },
      quantize: { group, statistics in
        let hessian = try statistics.secondMoment.map {
          try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
        }
        let solutions = try group.weights.map { name in
          let weight = try Self.weight(name, in: work.weights)
          if group.expert != nil, statistics.tokenCount == 0 { return try roundUnseen(name, weight) }
          return try solve(
            name, method, weight, hessian: hessian, importance: statistics.meanSquares)
        }
        return try work.finish(solutions)
      })
    let missed = Set(plan.selected).subtracting(work.reports.map(\.layer))
    guard missed.isEmpty else { throw CalibrationError.neverReached(missed.sorted()) }
  }

  private func fromStatistics(
    _ plan: QuantizationPlan, _ method: any QuantizationMethod, _ file: StatisticsFile, _ work: inout Work,
    _ progress: (Progress) throws -> Void
  ) throws {
    for (index, name) in plan.selected.enumerated() {
      try progress(Progress(what: name, fraction: Double(index) / Double(plan.selected.count)))
      if work.resume([name]) != nil { continue }
      guard let statistics = try file.statistics(for: name) else {
        throw CalibrationError.neverReached([name])
      }
      let hessian = try statistics.secondMoment.map {
        try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
      }
      let solution = try solve(
        name, method, Self.weight(name, in: work.weights), hessian: hessian,
        importance: statistics.meanSquares)
      try work.finish([solution])
    }
  }

  private func withoutCalibration(
    _ plan: QuantizationPlan, _ method: any QuantizationMethod, _ work: inout Work,
    _ progress: (Progress) throws -> Void
  ) throws {
    for (index, name) in plan.selected.enumerated() {
      try progress(Progress(what: name, fraction: Double(index) / Double(plan.selected.count)))
      if work.resume([name]) != nil { continue }
      let solution = try solve(
        name, method, Self.weight(name, in: work.weights), hessian: nil, importance: nil)
      try work.finish([solution])
    }
  }

  /// Rounds an expert that no token of the corpus went to; reported as a layer that fell back.
  private func roundUnseen(_ name: String, _ weight: Weight) throws -> LayerSolution {
    let solution = try solve(name, RoundToNearest(), weight, hessian: nil, importance: nil)
    var report = solution.report
    report.fallback = "no token of the corpus reaches this expert"
    return LayerSolution(matrix: solution.matrix, report: report)
  }

  private func solve(
    _ name: String, _ method: any QuantizationMethod, _ weight: Weight, hessian: Hessian?,
    importance: [Float]?
  ) throws -> LayerSolution {
    try method.solve(
      LayerProblem(name: name, weights: weight.decoded(), hessian: hessian, importance: importance),
      codec: recipe.codec, pool: pool)
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

extension CalibrationSource {
  /// What reports and journals say of it.
  var description: CalibrationDescription? {
    switch self {
    case .none: nil
    case .windows(let windows):
      CalibrationDescription(
        windowCount: windows.windows.count, tokenCount: windows.tokenCount, digest: windows.digest)
    case .statistics(let file, let digest):
      CalibrationDescription(windowCount: file.windowCount, tokenCount: file.tokenCount, digest: digest)
    }
  }
}

extension CalibrationWindows {
  /// SHA-256 of all tokens, windows separated by their lengths.
  var digest: String {
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
