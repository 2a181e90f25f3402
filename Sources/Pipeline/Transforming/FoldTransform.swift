import Calibration
import Codecs
import GraphIR
import GraphPasses
import OrderedCollections
import Quantization
import SafeIO
import TensorCore

/// What a transform did to a model.
public struct TransformReport: Sendable, Equatable {
  /// One place where factors were folded.
  public struct Site: Sendable, Equatable {
    /// Weights whose columns were multiplied.
    public var weights: [String]
    /// Output error of rounding after, relative to before.
    public var relativeLoss: Double
    /// The ratio that was best.
    public var ratio: Double
    /// Whether weights counted beside inputs.
    public var isDuo: Bool
  }

  /// Name of the transform.
  public var name: String
  /// Places where it found something better.
  public var sites: [Site] = []
  /// Places where nothing was better.
  public var unchangedCount = 0
  /// Groups of weights that read values which nothing can take factors over for.
  public var unfoldableCount = 0

  var json: JSONValue {
    [
      "name": .string(name), "unchanged": JSONValue(unchangedCount), "unfoldable": JSONValue(unfoldableCount),
      "sites": .array(
        sites.map { site in
          [
            "weights": .array(site.weights.map { .string($0) }), "relative_loss": .number(site.relativeLoss),
            "ratio": .number(site.ratio), "duo": .bool(site.isDuo),
          ]
        }),
    ]
  }
}

/// Searches factors of a model, AWQ's or SmoothQuant's, and folds them into the constants that make the scaled values.
struct FoldTransform {
  private let solver: any FoldSearch
  let recipe: QuantizationRecipe
  let model: LoadedModel
  private var weights: OrderedDictionary<String, Weight>
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
    weights = try model.requireCheckpoint()
    choices = try recipe.choices(in: model.graph)
    let chosen = choices
    let derived = model.derivedNames
    sites = FoldSite.sites(in: model.graph).filter { site in
      site.consumers.contains { chosen[$0] != nil } && !site.constants.contains(where: derived.contains)
    }
  }

  /// The weights whose inputs must be known.
  var targets: Set<String> { Set(sites.flatMap(\.consumers)) }

  /// Takes note of a group's inputs, and folds the sites of which all is known.
  mutating func observe(
    _ names: [String], _ statistics: InputStatistics, stage: QuantizationStage
  ) throws {
    for name in names { seen[name] = statistics }
    for site in sites where site.consumers.contains(where: names.contains) {
      guard site.consumers.allSatisfy({ seen[$0] != nil }) else { continue }
      try fold(site, stage)
      for name in site.consumers { seen[name] = nil }
    }
  }

  private mutating func fold(_ site: FoldSite, _ stage: QuantizationStage) throws {
    var readers: [AWQ.Reader] = []
    for name in site.consumers {
      guard let statistics = seen[name], let weight = weights[name], statistics.tokenCount > 0 else {
        continue
      }
      let hessian = try statistics.secondMoment.map {
        try Hessian(size: statistics.columns, values: $0, tokenCount: statistics.tokenCount)
      }
      readers.append(
        AWQ.Reader(
          problem: LayerProblem(name: name, weights: try weight.decoded(), hessian: hessian),
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
      case .dense(let tensor) = try weight(name)
    else { return nil }
    return Gain(values: try tensor.floats(), offset: Float(offset), type: tensor.elementType)
  }

  private func weight(_ name: String) throws -> Weight {
    guard let weight = weights[name] else {
      throw PipelineError.weight(name, reason: "is not in the checkpoint")
    }
    return weight
  }

  private mutating func apply(_ found: [Float], to site: FoldSite, _ gain: Gain?) throws {
    switch site.producer {
    case .normalization(let name, _, let shift):
      guard let gain else { return }
      try store(gain.divided(by: found), name, as: gain.type)
      if let shift { try divide(shift, by: found, rowLength: 1, firstRow: 0) }
    case .projection(let name, let bias, let firstRow):
      let columns = try weight(name).shape.columns
      try divide(name, by: found, rowLength: columns, firstRow: firstRow)
      if let bias { try divide(bias, by: found, rowLength: 1, firstRow: firstRow) }
    }
    let columns = site.factorOfColumn.map { found[$0] }
    for name in site.consumers {
      var values = try weight(name).decoded().values
      for index in values.indices { values[index] *= columns[index % columns.count] }
      try store(values, name, as: .f32)
      factors[name] = columns
    }
  }

  private mutating func divide(
    _ name: String, by factors: [Float], rowLength: Int, firstRow: Int
  ) throws {
    guard case .dense(let tensor) = try weight(name) else {
      throw PipelineError.weight(name, reason: "is quantized already")
    }
    var values = try tensor.floats()
    for (row, factor) in factors.enumerated() {
      for index in (firstRow + row) * rowLength..<(firstRow + row + 1) * rowLength { values[index] /= factor }
    }
    try store(values, name, as: .f32)
  }

  private mutating func store(_ values: [Float], _ name: String, as type: ElementType) throws {
    let shape = try weight(name).shape
    let tensor: Tensor
    switch type {
    case .bf16:
      tensor = try Tensor(
        bytes: values.flatMap { Self.littleEndian(SmallFloat.bfloat16($0)) }, elementType: .bf16, shape: shape
      )
    case .f16:
      tensor = try Tensor(
        bytes: values.flatMap { Self.littleEndian(Float16($0).bitPattern) }, elementType: .f16, shape: shape)
    default: tensor = try Tensor(values, shape: shape)
    }
    weights[name] = .dense(tensor)
  }

  private static func littleEndian(_ bits: UInt16) -> [UInt8] {
    [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
  }

  /// The model with the factors folded in, and what was done.
  func finished() -> (LoadedModel, TransformReport) {
    var report = report
    let inputs = Set(
      model.graph.linearNodes.filter { $0.weights.contains { choices[$0] != nil } }.map(\.input))
    report.unfoldableCount = inputs.subtracting(sites.map(\.input)).count
    return (model.replacing(weights: weights), report)
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
