import Calibration
import Codecs
import GraphIR
import OrderedCollections
import Quantization

/// Rewrites that keep what the float model computes, by the names that recipes call them.
public enum WeightTransforms {
  /// One of them, for people.
  public struct Entry: Sendable {
    /// What recipes call it.
    public let name: String
    /// One line.
    public let summary: String
    /// Its options.
    public let options: [MethodOption]
    /// Whether it must know the inputs of layers.
    public let readsInputs: Bool
  }

  /// All of them.
  public static let entries = [
    Entry(
      name: "awq", summary: "scales columns that inputs make important, so that rounding hurts them less",
      options: AWQ.options, readsInputs: true),
    Entry(
      name: "smoothquant", summary: "moves what is large in inputs into weights, for activations of 8 bits",
      options: SmoothQuant.options, readsInputs: true),
    Entry(
      name: RotationTransform.name,
      summary: "turns the residual stream and values by Hadamard matrices, for scales of whole rows",
      options: RotationTransform.options, readsInputs: false),
  ]

  /// The names.
  public static var names: [String] { entries.map(\.name) }

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
    for (number, transform) in recipe.transforms.enumerated() {
      if transform.name == RotationTransform.name {
        let (rotated, report) = try rotated(model, transform, calibration, progress)
        model = rotated
        reports.append(report)
        continue
      }
      var work = try FoldTransform(transform, recipe: recipe, model: model)
      switch calibration {
      case .none:
        throw PipelineError.usage(
          "\(transform.name) needs calibration",
          hint: "give --corpus FILE, or --statistics with second moments")
      case .windows(let windows):
        let isEnough =
          try number == recipe.transforms.count - 1 && recipe.methodNeed() == .moments
          && recipe.learnedRounding == nil
        let moments = try observe(&work, windows, transform.name, keepsMoments: isEnough, progress)
        if isEnough {
          calibration = .statistics(
            try moments.dividingInputs(by: work.factors), digest: windows.digest)
        }
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

  /// Statistics of inputs that are turned afterwards are those of another model.
  private func rotated(
    _ model: LoadedModel, _ transform: QuantizationRecipe.Transform, _ calibration: CalibrationSource,
    _ progress: (Progress) throws -> Void
  ) throws -> (LoadedModel, TransformReport) {
    if case .statistics = calibration {
      throw PipelineError.usage(
        "rotation changes the inputs that statistics tell of", hint: "calibrate on text, with --corpus FILE")
    }
    try progress(Progress(step: transform.name, what: "", fraction: 0))
    let choices = try recipe.choices(in: model.graph)
    var work = try RotationTransform(
      options: transform.options, model: model, quantized: Set(choices.keys),
      rounded: Set(choices.filter { $0.value.activations?.kind == .int8 }.keys), pool: pool)
    return try work.run()
  }

  /// Runs the corpus through the model.
  /// - Parameter keepsMoments: whether the mean squares of all quantized layers' inputs are wanted: with them a method that needs no
  ///   more does not read the corpus again.
  private func observe(
    _ work: inout FoldTransform, _ windows: CalibrationWindows, _ name: String, keepsMoments: Bool,
    _ progress: (Progress) throws -> Void
  ) throws -> StatisticsFile {
    let weights = try work.model.requireCheckpoint()
    let graph = work.model.graph
    var current = work
    var moments = StatisticsFile(
      modelDigest: "", segments: [WindowSegment(corpus: windows.digest, windows: 0..<windows.windows.count)],
      tokenCount: windows.tokenCount)
    let quantized = Set(try recipe.choices(in: graph).keys).intersection(graph.linearNodes.flatMap(\.weights))
    _ = try SequentialCalibration(
      graph: graph, windows: windows, targets: keepsMoments ? work.targets.union(quantized) : work.targets,
      collection: .secondMoments,
      minimumExpertTokens: recipe.minimumExpertTokens, pool: pool, kernels: kernels
    ).run(
      weight: { name in
        guard let weight = weights[name] else {
          throw PipelineError.weight(name, reason: "is not in the checkpoint")
        }
        return weight
      },
      progress: { try progress(Progress(step: name, what: $0.scope, fraction: $0.fraction)) },
      quantize: { group, observed in
        var statistics = try observed.total()
        try current.observe(group.weights, statistics, stage: self)
        statistics.secondMomentSum = nil
        moments.add([statistics], weights: group.weights)
        return [:]
      })
    work = current
    return moments
  }

  private func observe(
    _ work: inout FoldTransform, _ file: StatisticsFile, _ name: String, _ progress: (Progress) throws -> Void
  ) throws {
    let groups = LinearGroup.groups(of: work.model.graph, targets: work.targets)
    for (index, group) in groups.enumerated() {
      try progress(
        Progress(step: name, what: group.scope, fraction: Double(index) / Double(groups.count)))
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
