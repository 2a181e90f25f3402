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

  /// Rounds with a codec, chunk by chunk when the codec's planes can be joined.
  static func encode(
    _ problem: LayerProblem, codec: any Codec, search: ScaleSearch, pool: ThreadPool
  ) throws(QuantizationError) -> EncodedMatrix {
    do {
      guard let grid = codec as? any GridCodec else {
        return try codec.encode(problem.weights, importance: problem.importance, search: search)
      }
      let weights = problem.weights
      let parts = map(rows: weights.rows, pool: pool) { rows in
        GridRounding(codec: grid, columns: weights.columns).round(
          weights.values.span, rows: rows, importance: problem.importance, search: search)
      }
      return try grid.assemble(
        rows: weights.rows, columns: weights.columns, codes: parts.flatMap(\.codes),
        grids: parts.flatMap(\.grids))
    } catch {
      throw .codec(layer: problem.name, .init(diagnostic: error.diagnostic))
    }
  }
}

/// Plain rounding of some rows onto the grids of a codec.
struct GridRounding {
  let codec: any GridCodec
  let columns: Int

  struct Part: Sendable {
    var codes: [UInt8]
    var grids: [Grid]
  }

  func round(_ values: Span<Float>, rows: Range<Int>, importance: [Float]?, search: ScaleSearch) -> Part {
    let length = codec.groupLength(columns: columns)
    var part = Part(codes: [], grids: [])
    part.codes.reserveCapacity(rows.count * columns)
    for row in rows {
      for start in stride(from: 0, to: columns, by: length) {
        let range = start..<min(start + length, columns)
        let group = values.extracting(row * columns + range.lowerBound..<row * columns + range.upperBound)
        let grid = codec.fitGrid(group, importance: importance?.span.extracting(range), search: search)
        for index in group.indices { part.codes.append(UInt8(grid.code(group[index]))) }
        part.grids.append(grid)
      }
    }
    return part
  }
}
