import Calibration
import Codecs
import GraphIR
import GraphPasses
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// Searches factors of a model, AWQ's or SmoothQuant's, and folds them into the constants that make the scaled values.
struct FoldTransform {
  private let solver: any FoldSearch
  let recipe: QuantizationRecipe
  let model: LoadedModel
  private var edited: EditedWeights
  private let choices: OrderedDictionary<String, QuantizationRecipe.Choice>
  private let sites: [FoldSite]
  private var report: TransformReport
  /// Factors of the columns of weights.
  private(set) var factors: [String: [Float]] = [:]
  private var seen: [String: InputStatistics] = [:]

  init(
    _ transform: QuantizationRecipe.Transform, recipe: QuantizationRecipe, model: LoadedModel
  ) throws {
    solver = try WeightTransforms.solver(transform)
    report = TransformReport(name: transform.name)
    self.recipe = recipe
    self.model = model
    edited = EditedWeights(try model.requireCheckpoint())
    choices = try recipe.choices(in: model.graph)
    let chosen = choices
    let derived = model.derivedNames
    sites = FoldSite.sites(in: model.graph).filter { site in
      site.consumers.contains { chosen[$0] != nil } && !site.constants.contains(where: derived.contains)
    }
    targets = Set(sites.flatMap(\.consumers))
  }

  /// The weights whose inputs must be known.
  let targets: Set<String>

  /// Takes note of a group's inputs, and folds the sites of which all is known.
  mutating func observe(
    _ names: [String], _ statistics: InputStatistics, stage: QuantizationStage
  ) throws {
    for name in names where targets.contains(name) { seen[name] = statistics }
    for site in sites where site.consumers.contains(where: names.contains) {
      guard site.consumers.allSatisfy({ seen[$0] != nil }) else { continue }
      try fold(site, stage)
      for name in site.consumers { seen[name] = nil }
    }
  }

  private mutating func fold(_ site: FoldSite, _ stage: QuantizationStage) throws {
    var readers: [FoldReader] = []
    for name in site.consumers {
      guard let statistics = seen[name], statistics.tokenCount > 0 else { continue }
      let hessian = try statistics.secondMoment.map {
        try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
      }
      readers.append(
        FoldReader(
          problem: LayerProblem(name: name, weights: try edited[name].decoded(), hessian: hessian),
          codec: choices[name]?.codec, inputMaxima: statistics.maxima))
    }
    let gain = try gain(site)
    let outcome = try solver.search(
      readers, factorOfColumn: site.factorOfColumn, factorCount: site.factorCount, pool: stage.pool
    ) { factors in gain?.exact(factors) ?? factors }
    guard outcome.factors.contains(where: { $0 != 1 }) else {
      report.unchangedCount += 1
      return
    }
    report.sites.append(
      TransformReport.Site(
        weights: site.consumers, relativeLoss: outcome.relativeLoss, ratio: outcome.ratio,
        isDuo: outcome.isDuo))
    try apply(outcome.factors, to: site, gain)
  }

  /// The gain of a norm that takes factors over, in its own type.
  private struct Gain {
    let values: [Float]
    let offset: Float
    let type: ElementType

    /// The nearest factors by which the gain can be divided without rounding.
    func exact(_ factors: [Float]) -> [Float] {
      factors.indices.map { index in
        let whole = values[index] + offset
        let divided = rounded(whole / factors[index] - offset) + offset
        let factor = whole / divided
        return factor.isFinite && factor > 0 ? factor : 1
      }
    }

    func divided(by factors: [Float]) -> [Float] {
      values.indices.map { rounded((values[$0] + offset) / factors[$0] - offset) }
    }

    private func rounded(_ value: Float) -> Float {
      switch type {
      case .f16: Float(Float16(value))
      case .bf16: SmallFloat.float(bfloat16: SmallFloat.bfloat16(value))
      default: value
      }
    }
  }

  private func gain(_ site: FoldSite) throws -> Gain? {
    guard case .normalization(let name, let offset, _) = site.producer,
      case .dense(let tensor) = try edited[name]
    else { return nil }
    return Gain(values: try tensor.floats(), offset: Float(offset), type: tensor.elementType)
  }

  private mutating func apply(_ found: [Float], to site: FoldSite, _ gain: Gain?) throws {
    switch site.producer {
    case .normalization(let name, _, let shift):
      guard let gain else { return }
      try edited.store(gain.divided(by: found), name, as: gain.type)
      if let shift { try divide(shift, by: found, rowLength: 1, firstRow: 0) }
    case .projection(let name, let bias, let firstRow):
      let columns = try edited[name].shape.columns
      try divide(name, by: found, rowLength: columns, firstRow: firstRow)
      if let bias { try divide(bias, by: found, rowLength: 1, firstRow: firstRow) }
    }
    let columns = site.factorOfColumn.map { found[$0] }
    for name in site.consumers {
      var values = try edited[name].decoded().values
      for index in values.indices { values[index] *= columns[index % columns.count] }
      try edited.store(values, name, as: .f32)
      factors[name] = columns
    }
  }

  private mutating func divide(
    _ name: String, by factors: [Float], rowLength: Int, firstRow: Int
  ) throws {
    var values = try edited.dense(name).floats()
    for (row, factor) in factors.enumerated() {
      for index in (firstRow + row) * rowLength..<(firstRow + row + 1) * rowLength { values[index] /= factor }
    }
    try edited.store(values, name, as: .f32)
  }

  /// The model with the factors folded in, and what was done.
  func finished() -> (LoadedModel, TransformReport) {
    var report = report
    let inputs = Set(
      model.graph.linearNodes.filter { $0.weights.contains { choices[$0] != nil } }.map(\.input))
    report.unfoldableCount = inputs.subtracting(sites.map(\.input)).count
    return (model.replacing(weights: edited.weights), report)
  }
}

extension FoldSite {
  /// Constants that are changed beside the consumers.
  fileprivate var constants: [String] {
    switch producer {
    case .normalization(let gain, _, let shift): [gain] + [shift].compactMap { $0 }
    case .projection(let weight, let bias, _): [weight] + [bias].compactMap { $0 }
    }
  }
}
