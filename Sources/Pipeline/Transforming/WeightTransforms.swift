import Calibration
import GraphIR
import OrderedCollections
import Quantization

/// Rewrites that keep what the float model computes, by the names that recipes call them.
public enum WeightTransforms {
  /// The names.
  public static let names = ["awq", "smoothquant"]

  /// What searches the factors of a transform.
  /// - Throws: ``PipelineError/usage(_:hint:)``, `QuantizationError`.
  static func solver(_ transform: QuantizationRecipe.Transform) throws -> any FoldSearch {
    switch transform.name {
    case "awq": return try AWQ(options: transform.options)
    case "smoothquant": return try SmoothQuant(options: transform.options)
    default:
      throw PipelineError.usage(
        "no transform is called '\(transform.name)'",
        hint: NearestName.hint(transform.name, among: names, what: "transforms"))
    }
  }
}

extension QuantizationStage {
  /// The model after the recipe's transforms, and what is known of its inputs.
  func transformed(
    _ calibration: CalibrationSource, _ progress: (Progress) throws -> Void
  ) throws -> (LoadedModel, CalibrationSource, [TransformReport]) {
    var model = self.model
    var calibration = calibration
    var reports: [TransformReport] = []
    for transform in recipe.transforms {
      var work = try FoldTransform(transform, recipe: recipe, model: model)
      switch calibration {
      case .none:
        throw PipelineError.usage(
          "\(transform.name) needs calibration",
          hint: "give --corpus FILE, or --statistics with second moments")
      case .windows(let windows): try observe(&work, windows, transform.name, progress)
      case .statistics(let file, let digest):
        try observe(&work, file, transform.name, progress)
        calibration = .statistics(try file.dividingInputs(by: work.factors), digest: digest)
      }
      let (rewritten, report) = work.finished()
      model = rewritten
      reports.append(report)
    }
    return (model, calibration, reports)
  }

  private func observe(
    _ work: inout FoldTransform, _ windows: CalibrationWindows, _ name: String,
    _ progress: (Progress) throws -> Void
  ) throws {
    let weights = try work.model.requireCheckpoint()
    var current = work
    _ = try SequentialCalibration(
      graph: work.model.graph, windows: windows, targets: work.targets, collection: .secondMoments,
      minimumExpertTokens: recipe.minimumExpertTokens, pool: pool, kernels: kernels
    ).run(
      weight: { name in
        guard let weight = weights[name] else {
          throw PipelineError.weight(name, reason: "is not in the checkpoint")
        }
        return weight
      },
      progress: { try progress(Progress(what: "\(name) \($0.scope)", fraction: $0.fraction)) },
      quantize: { group, observed in
        try current.observe(group.weights, observed.total(), stage: self)
        return [:]
      })
    work = current
  }

  private func observe(
    _ work: inout FoldTransform, _ file: StatisticsFile, _ name: String, _ progress: (Progress) throws -> Void
  ) throws {
    let groups = LinearGroup.groups(of: work.model.graph, targets: work.targets)
    for (index, group) in groups.enumerated() {
      try progress(
        Progress(what: "\(name) \(group.scope)", fraction: Double(index) / Double(groups.count)))
      guard let statistics = try file.statistics(for: group.weights[0]) else {
        throw CalibrationError.neverReached(group.weights)
      }
      guard statistics.secondMomentSum != nil else {
        throw PipelineError.usage(
          "\(name) needs second moments, which the statistics lack",
          hint: "'adze calibrate --hessian' keeps them")
      }
      try work.observe(group.weights, statistics, stage: self)
    }
  }
}
