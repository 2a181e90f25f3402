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
  /// - Throws: ``PipelineError``, `QuantizationError`, `CalibrationError` and what lies below.
  public func run(
    calibration: CalibrationSource, progress: @escaping (Progress) throws -> Void = { _ in }
  ) throws -> QuantizedModel {
    let weights = try model.requireCheckpoint()
    let method = try recipe.method()
    let plan = try QuantizationPlan(recipe: recipe, graph: model.graph, weights: weights)
    try refuseQuantizedSources(plan, weights)
    var work = Work(weights: weights)
    let description: CalibrationDescription?
    switch calibration {
    case .windows(let windows) where method.need != .none:
      try calibrated(plan, method, windows, &work, progress)
      description = CalibrationDescription(
        windowCount: windows.windows.count, tokenCount: windows.tokenCount, digest: windows.digest)
    case .statistics(let file, let digest) where method.need != .none:
      try fromStatistics(plan, method, file, &work, progress)
      description = CalibrationDescription(
        windowCount: file.windowCount, tokenCount: file.tokenCount, digest: digest)
    default:
      try withoutCalibration(plan, method, &work, progress)
      description = nil
    }
    try checkFallbacks(work.reports)
    return QuantizedModel(
      source: model, weights: work.weights, recipe: recipe, reports: work.reports, calibration: description)
  }

  private struct Work {
    var weights: OrderedDictionary<String, Weight>
    var reports: [LayerReport] = []
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
      quantize: { group, statistics in
        var replaced: [String: Weight] = [:]
        let hessian = try statistics.secondMoment.map {
          try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
        }
        for name in group.weights {
          let solution = try solve(
            name, method, Self.weight(name, in: work.weights), hessian: hessian,
            importance: statistics.meanSquares)
          replaced[name] = .encoded(solution.matrix)
          work.weights[name] = .encoded(solution.matrix)
          work.reports.append(solution.report)
        }
        return replaced
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
      guard let statistics = try file.statistics(for: name) else {
        throw CalibrationError.neverReached([name])
      }
      let hessian = try statistics.secondMoment.map {
        try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
      }
      let solution = try solve(
        name, method, Self.weight(name, in: work.weights), hessian: hessian,
        importance: statistics.meanSquares)
      work.weights[name] = .encoded(solution.matrix)
      work.reports.append(solution.report)
    }
  }

  private func withoutCalibration(
    _ plan: QuantizationPlan, _ method: any QuantizationMethod, _ work: inout Work,
    _ progress: (Progress) throws -> Void
  ) throws {
    for (index, name) in plan.selected.enumerated() {
      try progress(Progress(what: name, fraction: Double(index) / Double(plan.selected.count)))
      let solution = try solve(
        name, method, Self.weight(name, in: work.weights), hessian: nil, importance: nil)
      work.weights[name] = .encoded(solution.matrix)
      work.reports.append(solution.report)
    }
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
