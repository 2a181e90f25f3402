import Codecs
import Kernels
import TensorCore

/// GPTQ: columns are rounded one after another, and the error of each is compensated in the columns not yet
/// rounded, so that the layer's output on the calibration data changes least.
///
/// Source: Frantar, Ashkboos, Hoefler, Alistarh 2022, "GPTQ: Accurate Post-Training Quantization for Generative
/// Pre-trained Transformers" (arXiv 2210.17323), algorithm 1. Differences: scales are searched under the inputs'
/// mean squares; act-order goes through whole groups, so that they stay contiguous in every container and their scales are
/// fitted to compensated weights; passes of coordinate descent follow; a row whose
/// result is no better than rounding keeps rounding, and that is counted; the factor comes from one Cholesky
/// factorization and one triangular inverse in float64 instead of three steps. Any codec does whose parameters can be fitted
/// to some columns: see `ColumnwiseCodec`.
public struct GPTQ: QuantizationMethod {
  /// Share of the diagonal's mean that is added to it; each retry multiplies it by ten.
  public var damping: Double
  /// Columns between two updates of all remaining columns.
  public var blockSize: Int
  /// Which column comes after which; nil: ``ColumnSequence/blocks`` for codecs with two levels of scales,
  /// ``ColumnSequence/importance`` for others, which measured best.
  public var sequence: ColumnSequence?
  /// Whether all scales are fixed before the first column is rounded.
  public var staticGroups: Bool
  /// How scales are chosen.
  public var scaleSearch: ScaleSearch
  /// What weighs errors where scales are fitted to compensated weights.
  public var fitWeights: FitWeights
  /// How much of the error that quantized layers before brought into the inputs is corrected for, 0...1.
  public var asymmetry: Double
  /// Sweeps of coordinate descent over the finished layer; where scales are free, before each of two fits of them.
  public var refinementSweeps: Int

  /// What weighs the error of a column when scales are chosen.
  public enum FitWeights: String, Sendable, CaseIterable {
    /// Mean square of its input.
    case hessian
    /// What the error costs after the columns behind have compensated it.
    case factor
  }

  /// Creates the method; the paper's unless told otherwise. The registry's defaults are what measured best.
  public init(
    damping: Double = 0.01, blockSize: Int = 128, sequence: ColumnSequence? = nil,
    staticGroups: Bool = false, scaleSearch: ScaleSearch = .standard, fitWeights: FitWeights = .hessian,
    asymmetry: Double = 0, refinementSweeps: Int = 0
  ) {
    self.damping = damping
    self.blockSize = blockSize
    self.sequence = sequence
    self.staticGroups = staticGroups
    self.scaleSearch = scaleSearch
    self.fitWeights = fitWeights
    self.asymmetry = asymmetry
    self.refinementSweeps = refinementSweeps
  }

  static let entry = MethodEntry(
    name: "gptq", summary: "error-compensating rounding under the inputs' second moment; needs calibration",
    source: "Frantar et al. 2022, arXiv 2210.17323",
    options: [
      MethodOption(
        name: "damping", defaultValue: "0.01", summary: "share of the mean diagonal added to the Hessian"),
      MethodOption(name: "block-size", defaultValue: "128", summary: "columns between two full updates"),
      MethodOption(
        name: "act-order", defaultValue: "auto",
        summary:
          "visit columns by importance: true (static groups), false, blocks (whole groups in order), or auto"),
      MethodOption(name: "static-groups", defaultValue: "false", summary: "fix all scales before rounding"),
      MethodOption(name: "scale-search", defaultValue: "least-squares", summary: "least-squares or extremes"),
      MethodOption(
        name: "fit-weights", defaultValue: "hessian",
        summary: "weights of the scale search: hessian or factor"),
      MethodOption(
        name: "asymmetry", defaultValue: "0.5",
        summary: "share of the error in the inputs that is corrected for, 0 to 1"),
      MethodOption(
        name: "refine", defaultValue: "2", summary: "sweeps of coordinate descent over the result; 0 for none"
      ),
    ]
  ) { reader throws(QuantizationError) in
    GPTQ(
      damping: try reader.number("damping", default: 0.01, in: 0...10),
      blockSize: try reader.integer("block-size", default: 128, in: 1...65536),
      sequence: try reader.sequence(),
      staticGroups: try reader.flag("static-groups", default: false),
      scaleSearch: try reader.scaleSearch(default: .standard),
      fitWeights: try reader.choice("fit-weights", default: .hessian),
      asymmetry: try reader.number("asymmetry", default: 0.5, in: 0...1),
      refinementSweeps: try reader.integer("refine", default: 2, in: 0...1000))
  }

  /// The full second moment.
  public var need: StatisticsNeed { asymmetry > 0 ? .drift : .hessian }

  /// Quantizes one layer; see ``QuantizationMethod``.
  public func solve(
    _ problem: LayerProblem, codec: any Codec, pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    try problem.validate()
    guard let codec = codec as? any ColumnwiseCodec,
      let layout = codec.columnLayout(columns: problem.weights.columns)
    else {
      throw .unsupportedCodec(
        method: "gptq", codec: codec.canonicalName,
        reason: "its values cannot be rounded one column of \(problem.weights.columns) after another")
    }
    guard let hessian = problem.hessian else {
      throw .missingStatistics(
        layer: problem.name, method: "gptq", needed: "the second moment of the layer's inputs")
    }
    guard hessian.tokenCount > 0, hessian.diagonal.contains(where: { $0 > 0 }) else {
      throw .emptyStatistics(layer: problem.name)
    }
    let target = try corrected(problem, hessian, pool)
    var solution = try refined(solve(target, hessian, codec, layout, pool), target, hessian, pool)
    solution.report.uncorrected = reasonUncorrected(problem)
    return solution
  }

  private func solve(
    _ problem: LayerProblem, _ hessian: Hessian, _ codec: any ColumnwiseCodec, _ layout: ColumnLayout,
    _ pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    let order = ColumnOrder(
      diagonal: hessian.diagonal, fitLength: layout.fitLength,
      sequence: sequence ?? (layout.fitLength > layout.gridLength ? .blocks : .importance))
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
    do {
      let loop = try columnLoop(problem, hessian, codec, layout, order, inverse)
      let parts = try RowChunks.encode(rows: problem.weights.rows, pool: pool) { (rows) throws(CodecError) in
        try loop.run(rows: rows)
      }
      let energy = OutputError(problem: problem, pool: pool).rowEnergies(problem.weights.values).reduce(0, +)
      report.relativeError = energy > 0 ? parts.reduce(0) { $0 + $1.error } / energy : 0
      report.roundingRelativeError = energy > 0 ? parts.reduce(0) { $0 + $1.roundingError } / energy : 0
      report.roundedRowCount = parts.reduce(0) { $0 + $1.roundedRowCount }
      let matrix = try assembled(parts, loop)
      report.bitsPerWeight = Double(matrix.byteCount) * 8 / Double(max(problem.weights.values.count, 1))
      return LayerSolution(matrix: matrix, report: report)
    } catch {
      throw .codec(layer: problem.name, .init(diagnostic: error.diagnostic))
    }
  }

  private func columnLoop(
    _ problem: LayerProblem, _ hessian: Hessian, _ codec: any ColumnwiseCodec, _ layout: ColumnLayout,
    _ order: ColumnOrder, _ inverse: [Float]
  ) throws(CodecError) -> GPTQColumnLoop {
    let weights = problem.liveWeights
    let sharedScale = codec.sharedScale(of: weights)
    let diagonal = hessian.diagonal
    var whole: FittedRows?
    if codec.sharesParametersAcrossRows {
      let fit = try codec.fit(weights, sharedScale: sharedScale, importance: diagonal, search: scaleSearch)
      whole = FittedRows(fits: [fit], codes: codec.codes(of: fit))
    }
    return GPTQColumnLoop(
      method: self, codec: codec, layout: layout, weights: weights, sharedScale: sharedScale, whole: whole,
      hessian: hessian, diagonal: diagonal, order: order, inverse: inverse)
  }

  private func assembled(_ parts: [GPTQColumnLoop.Part], _ loop: GPTQColumnLoop) throws(CodecError)
    -> EncodedMatrix
  {
    let columns = loop.weights.columns
    if let whole = loop.whole {
      return try loop.codec.assemble(
        whole.fits, rows: loop.weights.rows, columns: columns, codes: parts.flatMap(\.rows.codes))
    }
    return try EncodedMatrix.joined(
      rows: parts.map { (part) throws(CodecError) in
        try part.rows.assembled(
          by: loop.codec, rows: part.rows.codes.count / max(columns, 1), columns: columns)
      })
  }

  private func roundingSolution(
    _ problem: LayerProblem, _ codec: any Codec, _ report: LayerReport, _ pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    let rounded = try RoundToNearest(scaleSearch: scaleSearch).solve(problem, codec: codec, pool: pool)
    var report = report
    report.relativeError = rounded.report.relativeError
    report.roundingRelativeError = rounded.report.relativeError
    report.bitsPerWeight = rounded.report.bitsPerWeight
    return LayerSolution(matrix: rounded.matrix, report: report)
  }
}
