import Codecs
import Kernels
import OrderedCollections
import SafeIO
import TensorCore

/// How far the weights of a written model are from those of its source: measured on the file that was written.
public struct ConversionProof: Sendable {
  /// One weight.
  public struct Row: Sendable {
    /// Its name.
    public let name: String
    /// What was planned.
    public let verdict: ConversionPlan.Verdict
    /// Largest difference of a value.
    public let maximumDifference: Float
    /// Largest magnitude in the source.
    public let maximumMagnitude: Float
    /// Root of the mean squared difference, relative to that of the values.
    public let relativeError: Double
  }

  /// Every weight of the plan, in its order.
  public let rows: [Row]

  /// The row with the largest difference.
  public var worst: Row? { rows.max { $0.maximumDifference < $1.maximumDifference } }

  /// Weights all of whose values are the same numbers.
  public var exactCount: Int { rows.count { $0.maximumDifference == 0 } }

  /// Reads the written model and compares every weight.
  /// - Throws: ``PipelineError/proof(path:weight:expected:found:)`` when a weight is missing or farther off than the
  ///   plan allows; what reading throws.
  public init(
    plan: ConversionPlan, source: LoadedModel, written path: String, pool: ThreadPool,
    progress: (String, Double) throws -> Void = { _, _ in }
  ) throws {
    // No container is read back with the rows of queries and keys as llama2.c has them.
    let before = try source.withRotaryHalves(source.requireCheckpoint())
    // Weights whose rows were moved on the way in are given up one by one.
    var after = Dictionary(
      uniqueKeysWithValues: try ModelFormats.load(path).requireCheckpoint().map { ($0, $1) })
    var rows: [Row] = []
    for (index, entry) in plan.entries.enumerated() {
      try progress(entry.name, Double(index) / Double(plan.entries.count))
      let written = after.removeValue(forKey: entry.name)
      guard let old = before[entry.name], let new = written, old.shape == new.shape else {
        throw PipelineError.proof(
          path: path, weight: entry.name, expected: "\(entry.shape)",
          found: written.map { "\($0.shape)" } ?? "nothing")
      }
      let row = try Self.row(entry, old, new, pool)
      try Self.check(row, path)
      rows.append(row)
    }
    self.rows = rows
  }

  private static func check(_ row: Row, _ path: String) throws(PipelineError) {
    let bound: Float? =
      switch row.verdict {
      case .exact: 0
      case .bounded(let bound): bound * 1.000_01
      case .rounded, .refused: nil
      }
    // NaN is no more than any bound, and no proof.
    guard let bound, !(row.maximumDifference <= bound) else { return }
    throw .proof(
      path: path, weight: row.name, expected: bound == 0 ? "the same values" : "differences up to \(bound)",
      found: "a difference of \(row.maximumDifference)")
  }

  private static func row(
    _ entry: ConversionPlan.Entry, _ old: Weight, _ new: Weight, _ pool: ThreadPool
  ) throws -> Row {
    let parts = try pool.mapRows(
      of: old.shape, { try difference(old, new, $0) },
      release: { rows in for weight in [old, new] { weight.releasePages(rows: rows) } })
    for weight in [old, new] { weight.releasePages(rows: 0..<old.shape.rows) }
    var total = ValueDifference()
    for part in parts { total.add(part) }
    return Row(
      name: entry.name, verdict: entry.verdict, maximumDifference: total.maximum,
      maximumMagnitude: total.magnitude, relativeError: total.relativeError)
  }

  /// Compares rows, as many at a time as stay in a core's nearest cache.
  private static func difference(_ old: Weight, _ new: Weight, _ rows: Range<Int>) throws -> ValueDifference {
    let columns = old.shape.columns
    let step = max(1, (1 << 12) / max(columns, 1))
    let capacity = min(step, rows.count) * columns
    return try unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * capacity) { values in
      var total = ValueDifference()
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: step) {
        let chunk = start..<min(start + step, rows.upperBound)
        let count = chunk.count * columns
        let first = unsafe UnsafeMutableBufferPointer(rebasing: values[..<count])
        let second = unsafe UnsafeMutableBufferPointer(rebasing: values[capacity..<capacity + count])
        try unsafe old.decode(rows: chunk, into: first)
        try unsafe new.decode(rows: chunk, into: second)
        total.add(unsafe ValueDifference(UnsafeBufferPointer(first), UnsafeBufferPointer(second)))
      }
      return total
    }
  }
}
