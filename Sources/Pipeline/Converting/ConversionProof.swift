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
    let before = try source.requireCheckpoint()
    let after = try ModelFormats.load(path).requireCheckpoint()
    var rows: [Row] = []
    for (index, entry) in plan.entries.enumerated() {
      try progress(entry.name, Double(index) / Double(plan.entries.count))
      guard let old = before[entry.name], let new = after[entry.name], old.shape == new.shape else {
        throw PipelineError.proof(
          path: path, weight: entry.name, expected: "\(entry.shape)",
          found: after[entry.name].map { "\($0.shape)" } ?? "nothing")
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
    let (count, columns) = (old.shape.rows, old.shape.columns)
    let step = max(1, (1 << 16) / max(columns, 1))
    let parts = try pool.map(count: Checked.ceilingQuotient(count, step)) { task in
      let range = task * step..<min((task + 1) * step, count)
      var values = [[Float]](repeating: [], count: 2)
      for (index, weight) in [old, new].enumerated() {
        values[index] = [Float](repeating: 0, count: range.count * columns)
        try unsafe values[index].withUnsafeMutableBufferPointer {
          try unsafe weight.decode(rows: range, into: $0)
        }
      }
      return Differences(values[0], values[1])
    }
    for weight in [old, new] { weight.releasePages(rows: 0..<count) }
    var total = Differences()
    for part in parts { total.add(part) }
    return Row(
      name: entry.name, verdict: entry.verdict, maximumDifference: total.maximum,
      maximumMagnitude: total.magnitude,
      relativeError: total.energy > 0 ? (total.squares / total.energy).squareRoot() : 0)
  }

  /// Largest and mean squared difference of two lists of values. Values that are NaN or infinite in both are equal.
  private struct Differences {
    var maximum: Float = 0
    var magnitude: Float = 0
    var squares = 0.0
    var energy = 0.0

    init() {}

    init(_ old: [Float], _ new: [Float]) {
      var squares: Float = 0
      var energy: Float = 0
      for index in old.indices {
        let (left, right) = (old[index], new[index])
        let difference = left == right || left.bitPattern == right.bitPattern ? 0 : abs(left - right)
        maximum = difference > maximum || difference.isNaN ? difference : maximum
        magnitude = max(magnitude, abs(left))
        squares += difference * difference
        energy += left * left
      }
      self.squares = Double(squares)
      self.energy = Double(energy)
    }

    mutating func add(_ other: Differences) {
      maximum = other.maximum > maximum || other.maximum.isNaN ? other.maximum : maximum
      magnitude = max(magnitude, other.magnitude)
      squares += other.squares
      energy += other.energy
    }
  }
}
