import CKernels

/// Cosines and sines of rotary embeddings for a list of positions; made once, used by every layer.
public final class RotaryTable: @unchecked Sendable {
  /// Tokens.
  public private(set) var count = 0
  /// Rotated pairs of a head.
  public private(set) var pairs = 0
  private let buffer = AlignedBuffer()

  /// Creates an empty table.
  public init() {}

  /// Bytes in use.
  public var byteCount: Int { buffer.byteCount }

  /// Fills the table: the angle is the float32 product of position and frequency; its cosine and sine are right to
  /// about one unit in the last place, then multiplied by `magnitude`.
  public func fill(
    positions: UnsafePointer<Int32>, count: Int, inverseFrequencies: UnsafePointer<Float>, pairs: Int,
    magnitude: Float = 1
  ) {
    self.count = count
    self.pairs = pairs
    let target = unsafe buffer.floats(count * pairs * 2)
    for token in 0..<count {
      unsafe ck_rotary_table(
        positions[token], inverseFrequencies, pairs, magnitude, target + token * pairs * 2)
    }
  }

  /// Cosines, then sines, of one token.
  func row(_ token: Int) -> UnsafePointer<Float> {
    unsafe UnsafePointer(buffer.floats(0) + token * pairs * 2)
  }
}

/// How attention turns heads: by cosines and sines of the tokens of a run.
public struct RotaryHeads: Sendable {
  /// One entry for each token.
  public let table: RotaryTable
  /// Whether a pair are neighbours.
  public let isInterleaved: Bool

  /// Heads turned by a table.
  public init(_ table: RotaryTable, isInterleaved: Bool = false) {
    self.table = table
    self.isInterleaved = isInterleaved
  }
}

extension KernelTable {
  /// Turns `heads` heads of every row, on this thread; the first row is token number `first` of the table.
  func turn(_ x: Rows, heads: Int, _ rotary: RotaryHeads, first: Int, into y: Rows) {
    unsafe precondition(first >= 0 && first + x.rows <= rotary.table.count, "rows of a rotary embedding")
    guard let function = unsafe functions.rope else { return }
    for row in unsafe 0..<x.rows {
      unsafe function(
        x[row], rotary.table.row(first + row), heads, x.columns / heads, rotary.table.pairs,
        rotary.isInterleaved ? 1 : 0, y[row])
    }
  }

  /// Rotary position embedding of every head of every row.
  ///
  /// The first `2 * table.pairs` elements of a head are rotated: element `i` with `i + pairs`, or `2i` with `2i + 1`
  /// when `isInterleaved`: `(a, b)` becomes `(a cos - b sin, b cos + a sin)`. The rest of the head is copied.
  ///
  /// - Parameters:
  ///   - x: `[T, heads * headDimension]`.
  ///   - table: one entry for each row.
  ///   - y: as `x`; may be `x`.
  public func rope(
    _ x: Rows, table: RotaryTable, heads: Int, headDimension: Int, isInterleaved: Bool = false, into y: Rows,
    pool: ThreadPool
  ) {
    unsafe requireSame(x, y)
    unsafe precondition(
      x.columns == heads * headDimension && x.rows == table.count, "shapes of a rotary embedding")
    precondition(2 * table.pairs <= headDimension, "more rotated elements than a head has")
    guard let function = unsafe functions.rope else { return }
    unsafe forEachRow(x.rows, columns: x.columns, pool) { row in
      unsafe function(
        x[row], table.row(row), heads, headDimension, table.pairs, isInterleaved ? 1 : 0, y[row])
    }
  }

  /// The same with a table made for this call.
  public func rope(
    _ x: Rows, positions: UnsafePointer<Int32>, inverseFrequencies: UnsafePointer<Float>, pairs: Int,
    heads: Int,
    headDimension: Int, isInterleaved: Bool = false, magnitude: Float = 1, into y: Rows, workspace: Workspace,
    pool: ThreadPool
  ) {
    unsafe workspace.rotary.fill(
      positions: positions, count: x.rows, inverseFrequencies: inverseFrequencies, pairs: pairs,
      magnitude: magnitude)
    unsafe rope(
      x, table: workspace.rotary, heads: heads, headDimension: headDimension, isInterleaved: isInterleaved,
      into: y,
      pool: pool)
  }
}
