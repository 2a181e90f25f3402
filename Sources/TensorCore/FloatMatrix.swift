/// A row-major float32 matrix that owns its values.
public struct FloatMatrix: Sendable, Equatable {
  /// Number of rows; output features of a weight.
  public let rows: Int
  /// Number of columns; input features of a weight.
  public let columns: Int
  /// `rows * columns` values, row after row.
  public var values: [Float]

  /// Adopts values.
  /// - Throws: ``TensorCoreError/shapeMismatch(expected:found:)`` when their count is not `rows * columns`.
  public init(rows: Int, columns: Int, values: [Float]) throws(TensorCoreError) {
    let count = try Checked.product(rows, columns)
    guard values.count == count else {
      throw .shapeMismatch(expected: "\(count) values for [\(rows), \(columns)]", found: "\(values.count)")
    }
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// A matrix of zeros; traps on negative sizes, so never for sizes from a file.
  public init(zeros rows: Int, _ columns: Int) {
    self.rows = rows
    self.columns = columns
    self.values = [Float](repeating: 0, count: rows * columns)
  }

  /// The element in `row` and `column`.
  public subscript(row: Int, column: Int) -> Float {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  /// Index of the first value that is NaN or infinite; nil when all are finite.
  public var firstNonFinite: Int? { values.firstIndex { !$0.isFinite } }
}
