import Codecs
import Kernels
import TensorCore

/// Rounds every weight to the nearest value of its group's grid: the baseline of every comparison.
///
/// With `scale-search: extremes` (the default) no calibration is used and nothing is clipped; `least-squares`
/// searches each group's scale for the least squared error, weighted by the inputs' mean squares when they are known.
public struct RoundToNearest: QuantizationMethod {
  /// How scales are chosen.
  public var scaleSearch: ScaleSearch

  /// Creates the method.
  public init(scaleSearch: ScaleSearch = .extremes) { self.scaleSearch = scaleSearch }

  static let entry = MethodEntry(
    name: "rtn", summary: "round to nearest, group by group; needs no calibration",
    source: "the field's baseline",
    options: [
      MethodOption(
        name: "scale-search", defaultValue: "extremes",
        summary: "extremes, or least-squares (clips where that helps)")
    ]
  ) { reader throws(QuantizationError) in
    RoundToNearest(scaleSearch: try reader.scaleSearch(default: .extremes))
  }

  /// Uses the inputs' mean squares when the scale search can.
  public var need: StatisticsNeed { scaleSearch == .extremes ? .none : .moments }

  /// Quantizes one layer; see ``QuantizationMethod``.
  public func solve(
    _ problem: LayerProblem, codec: any Codec, pool: ThreadPool
  ) throws(QuantizationError) -> LayerSolution {
    try problem.validate()
    let matrix = try RowChunks.encode(problem, codec: codec, search: scaleSearch, pool: pool)
    let error = OutputError(problem: problem, pool: pool).relative(of: matrix.decoded())
    return LayerSolution(
      matrix: matrix,
      report: LayerReport(
        layer: problem.name, method: Self.entry.name, codec: codec.canonicalName, relativeError: error,
        roundingRelativeError: error, tokenCount: problem.hessian?.tokenCount ?? 0,
        bitsPerWeight: Double(matrix.byteCount) * 8 / Double(max(problem.weights.values.count, 1))))
  }
}

extension LayerProblem {
  /// Refuses what would silently poison the result.
  func validate() throws(QuantizationError) {
    if let index = weights.firstNonFinite { throw .nonFinite(layer: name, what: "the weight", index: index) }
    if let importance {
      guard importance.count == weights.columns else {
        throw .shapeMismatch(
          layer: name, expected: "statistics of \(weights.columns) inputs", found: "\(importance.count)")
      }
      if let index = importance.firstIndex(where: { !$0.isFinite }) {
        throw .nonFinite(layer: name, what: "the mean square of an input", index: index)
      }
      if let index = importance.firstIndex(where: { $0 < 0 }) {
        throw .negativeMeanSquare(layer: name, input: index)
      }
    }
    if let index = hessian?.values.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(layer: name, what: "the second moment", index: index)
    }
  }
}

/// Work on a matrix in fixed chunks of rows, so that results do not depend on the number of threads.
enum RowChunks {
  static let rowsPerChunk = 64

  static func ranges(rows: Int) -> [Range<Int>] {
    stride(from: 0, to: rows, by: rowsPerChunk).map { $0..<min($0 + rowsPerChunk, rows) }
  }

  /// Runs `body` on every chunk and returns the results in order.
  static func map<Result: Sendable>(
    rows: Int, pool: ThreadPool, _ body: (Range<Int>) -> Result
  ) -> [Result] {
    let ranges = ranges(rows: rows)
    let results = UnsafeMutablePointer<Result?>.allocate(capacity: ranges.count)
    unsafe results.initialize(repeating: nil, count: ranges.count)
    defer {
      unsafe results.deinitialize(count: ranges.count)
      unsafe results.deallocate()
    }
    pool.run(taskCount: ranges.count) { index in unsafe results[index] = body(ranges[index]) }
    return (0..<ranges.count).compactMap { unsafe results[$0] }
  }

  /// Runs `body` on every chunk; errors name the rows of the whole.
  static func encode<Result: Sendable>(
    rows: Int, pool: ThreadPool, _ body: (Range<Int>) throws(CodecError) -> Result
  ) throws(CodecError) -> [Result] {
    try map(rows: rows, pool: pool) { range in
      Swift.Result { () throws(CodecError) in
        do throws(CodecError) { return try body(range) } catch {
          throw error.movedDown(byRows: range.lowerBound)
        }
      }
    }.map { (result) throws(CodecError) in try result.get() }
  }

  /// Rounds with a codec, chunk by chunk where rows do not depend on each other.
  static func encode(
    _ problem: LayerProblem, codec: any Codec, search: ScaleSearch, pool: ThreadPool
  ) throws(QuantizationError) -> EncodedMatrix {
    do {
      guard codec.isRowwise else {
        return try codec.encode(problem.weights, importance: problem.importance, search: search)
      }
      return try EncodedMatrix.joined(
        rows: encode(rows: problem.weights.rows, pool: pool) { (rows) throws(CodecError) in
          try codec.encode(
            problem.weights.selecting(rows: rows), importance: problem.importance, search: search)
        })
    } catch {
      throw .codec(layer: problem.name, .init(diagnostic: error.diagnostic))
    }
  }
}
