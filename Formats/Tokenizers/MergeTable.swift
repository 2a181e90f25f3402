/// Which two neighbouring tokens become one, and in which order.
struct MergeTable: Sendable {
  /// A merge: the lower rank goes first, and among equal ranks the place further left.
  struct Merge: Equatable {
    /// Order of the merge, from 0.
    var rank: Int32
    /// The token that it makes.
    var result: Int32
  }

  /// The rank of a pair that does not merge.
  static let never = Int32.max

  private var table: KeyTable
  /// Largest rank + 1.
  private(set) var rankCount = 0

  /// An empty table with room for `capacity` merges.
  init(capacity: Int) { table = KeyTable(capacity: capacity) }

  /// How many pairs merge.
  var count: Int { table.count }

  /// The merge of two tokens.
  @inline(__always)
  subscript(left: Int32, right: Int32) -> Merge? {
    guard let value = table[Self.key(left, right)] else { return nil }
    return Merge(rank: Int32(truncatingIfNeeded: value >> 32), result: Int32(truncatingIfNeeded: value))
  }

  /// The rank of the merge of two tokens, ``never`` when there is none.
  @inline(__always)
  func rank(_ left: Int32, _ right: Int32) -> Int32 {
    guard let value = table[Self.key(left, right)] else { return Self.never }
    return Int32(truncatingIfNeeded: value >> 32)
  }

  /// Lets `left` and `right` become `merge.result`; the last setting of a pair counts.
  mutating func set(_ left: Int32, _ right: Int32, _ merge: Merge) {
    table.set(
      Self.key(left, right),
      UInt64(UInt32(bitPattern: merge.rank)) << 32 | UInt64(UInt32(bitPattern: merge.result)))
    rankCount = max(rankCount, Int(merge.rank) + 1)
  }

  @inline(__always)
  private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// All merges, in no order.
  var entries: [(left: Int32, right: Int32, merge: Merge)] {
    table.entries.map { key, value in
      (
        left: Int32(truncatingIfNeeded: key >> 32), right: Int32(truncatingIfNeeded: key),
        merge: Merge(rank: Int32(truncatingIfNeeded: value >> 32), result: Int32(truncatingIfNeeded: value))
      )
    }
  }
}
