import TensorCore

/// Rows of floats that somebody else owns: `rows` tokens of `columns` values, `stride` elements from row to row.
@unsafe
public struct Rows {
  /// The first value of the first row.
  public let pointer: UnsafeMutablePointer<Float>
  /// Tokens.
  public let rows: Int
  /// Values of a row.
  public let columns: Int
  /// Elements from the start of a row to the start of the next; at least `columns`.
  public let stride: Int

  /// Rows at `pointer`; `stride` is `columns` unless given.
  public init(_ pointer: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int? = nil) {
    unsafe self.pointer = pointer
    unsafe self.rows = rows
    unsafe self.columns = columns
    unsafe self.stride = stride ?? columns
  }

  /// The first value of a row.
  @inlinable
  public subscript(row: Int) -> UnsafeMutablePointer<Float> { unsafe pointer + row &* stride }

  /// A range of the rows.
  public func rows(_ range: Range<Int>) -> Rows {
    unsafe precondition(range.lowerBound >= 0 && range.upperBound <= rows)
    return unsafe Rows(self[range.lowerBound], rows: range.count, columns: columns, stride: stride)
  }

  /// A range of the columns, in place.
  public func columns(_ range: Range<Int>) -> Rows {
    unsafe precondition(range.lowerBound >= 0 && range.upperBound <= columns)
    return unsafe Rows(pointer + range.lowerBound, rows: rows, columns: range.count, stride: stride)
  }
}
