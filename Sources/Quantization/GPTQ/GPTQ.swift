import Codecs
import Kernels
import TensorCore

/// GPTQ: columns are rounded one after another, and the error of each is compensated in the columns not yet
/// rounded, so that the layer's output on the calibration data changes least.
///
/// Source: Frantar, Ashkboos, Hoefler, Alistarh 2022, "GPTQ: Accurate Post-Training Quantization for Generative
/// Pre-trained Transformers" (arXiv 2210.17323), algorithm 1. Differences: scales are searched under the inputs'
/// mean squares; act-order always keeps groups static, so that groups stay contiguous in every container; a row whose
/// result is no better than rounding keeps rounding, and that is counted; the factor comes from one Cholesky
/// factorization and one triangular inverse in float64 instead of three steps.
public struct GPTQ: QuantizationMethod {
  /// Share of the diagonal's mean that is added to it; each retry multiplies it by ten.
  public var damping: Double
  /// Columns between two updates of all remaining columns.
  public var blockSize: Int
  /// Whether columns are visited by falling mean square of their inputs; groups are then static.
  public var actOrder: Bool
  /// Whether all scales are fixed before the first column is rounded.
  public var staticGroups: Bool
  /// How scales are chosen.
  public var scaleSearch: ScaleSearch

  /// Creates the method.
  public init(
    damping: Double = 0.01, blockSize: Int = 128, actOrder: Bool = true, staticGroups: Bool = false,
    scaleSearch: ScaleSearch = .standard
  ) {
    self.damping = damping
    self.blockSize = blockSize
    self.actOrder = actOrder
    self.staticGroups = staticGroups
    self.scaleSearch = scaleSearch
  }

  static let entry = MethodEntry(
    name: "gptq", summary: "error-compensating rounding under the inputs' second moment; needs calibration",
    source: "Frantar et al. 2022, arXiv 2210.17323",
    options: [
      MethodOption(
        name: "damping", defaultValue: "0.01", summary: "share of the mean diagonal added to the Hessian"),
      MethodOption(name: "block-size", defaultValue: "128", summary: "columns between two full updates"),
      MethodOption(
        name: "act-order", defaultValue: "true", summary: "visit columns by importance; groups stay static"),
      MethodOption(name: "static-groups", defaultValue: "false", summary: "fix all scales before rounding"),
      MethodOption(name: "scale-search", defaultValue: "least-squares", summary: "least-squares or extremes"),
    ]
  ) { reader throws(QuantizationError) in
    GPTQ(
      damping: try reader.number("damping", default: 0.01, in: 0...10),
      blockSize: try reader.integer("block-size", default: 128, in: 1...65536),
      actOrder: try reader.flag("act-order", default: true),
      staticGroups: try reader.flag("static-groups", default: false),
      scaleSearch: try reader.scaleSearch(default: .standard))
  }

  /// The full second moment.
  public var need: StatisticsNeed { .hessian }

  /// Quantizes one layer; see ``QuantizationMethod``.
  public func solve(
    _ problem: LayerProblem, codec: any Codec, pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    try problem.validate()
    guard let codec = codec as? any GridCodec else {
      throw .unsupportedCodec(method: "gptq", codec: codec.canonicalName, reason: "its values lie on no grid")
    }
    guard let hessian = problem.hessian else {
      throw .missingStatistics(
        layer: problem.name, method: "gptq", needed: "the second moment of the layer's inputs")
    }
    guard hessian.tokenCount > 0, hessian.diagonal.contains(where: { $0 > 0 }) else {
      throw .emptyStatistics(layer: problem.name)
    }
    return try solve(problem, hessian, codec, pool)
  }

  private func solve(
    _ problem: LayerProblem, _ hessian: Hessian, _ codec: any GridCodec, _ pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    let order = ColumnOrder(diagonal: hessian.diagonal, byImportance: actOrder)
    var report = LayerReport(
      layer: problem.name, method: "gptq", codec: codec.canonicalName, relativeError: 0,
      roundingRelativeError: 0,
      tokenCount: hessian.tokenCount, deadColumnCount: hessian.diagonal.count { $0 <= 0 })
    let factor = InverseFactor.factorize(hessian, order: order.columns, damping: damping)
    report.damping = factor.damping
    report.dampingRetryCount = factor.retryCount
    guard let inverse = factor.upper else {
      report.fallback = "the second moment has no Cholesky factor, even with damping \(factor.damping)"
      return try roundingSolution(problem, codec, report, pool)
    }
    let loop = GPTQColumnLoop(
      method: self, codec: codec, weights: problem.weights, hessian: hessian, order: order, inverse: inverse)
    let parts = RowChunks.map(rows: problem.weights.rows, pool: pool) { rows in loop.run(rows: rows) }
    let energy = OutputError(problem: problem, pool: pool).rowEnergies(problem.weights.values).reduce(0, +)
    report.relativeError = energy > 0 ? parts.reduce(0) { $0 + $1.error } / energy : 0
    report.roundingRelativeError = energy > 0 ? parts.reduce(0) { $0 + $1.roundingError } / energy : 0
    report.roundedRowCount = parts.reduce(0) { $0 + $1.roundedRowCount }
    return try solution(problem, codec, parts, report)
  }

  private func solution(
    _ problem: LayerProblem, _ codec: any GridCodec, _ parts: [GPTQColumnLoop.Part], _ report: LayerReport
  ) throws(QuantizationError) -> LayerSolution {
    do {
      let matrix = try codec.assemble(
        rows: problem.weights.rows, columns: problem.weights.columns, codes: parts.flatMap(\.codes),
        grids: parts.flatMap(\.grids))
      var report = report
      report.bitsPerWeight = Double(matrix.byteCount) * 8 / Double(max(problem.weights.values.count, 1))
      return LayerSolution(matrix: matrix, report: report)
    } catch {
      throw .codec(layer: problem.name, .init(diagnostic: error.diagnostic))
    }
  }

  private func roundingSolution(
    _ problem: LayerProblem, _ codec: any GridCodec, _ report: LayerReport, _ pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    let rounded = try RoundToNearest(scaleSearch: scaleSearch).solve(problem, codec: codec, pool: pool)
    var report = report
    report.relativeError = rounded.report.relativeError
    report.roundingRelativeError = rounded.report.relativeError
    report.bitsPerWeight = rounded.report.bitsPerWeight
    return LayerSolution(matrix: rounded.matrix, report: report)
  }
}

/// The order in which columns are rounded.
struct ColumnOrder {
  /// Column of each step.
  let columns: [Int]
  /// Inputs that no token excited; their weights do not matter and become zero.
  let dead: [Bool]
  /// Whether it is the natural order.
  let isNatural: Bool

  init(diagonal: [Float], byImportance: Bool) {
    dead = diagonal.map { $0 <= 0 }
    isNatural = !byImportance
    columns =
      byImportance
      ? diagonal.indices.sorted { (diagonal[$0], -$0) > (diagonal[$1], -$1) } : Array(diagonal.indices)
  }
}
