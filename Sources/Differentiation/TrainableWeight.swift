import TensorCore

/// A weight `[out, in]` whose values change between runs, never during one.
@safe
public final class TrainableWeight: @unchecked Sendable {
  /// Its name in the graph.
  public let name: String
  /// Output features.
  public let rows: Int
  /// Input features.
  public let columns: Int
  private let storage: UnsafeMutablePointer<Float>

  /// Zeros.
  public init(name: String, rows: Int, columns: Int) {
    self.name = name
    self.rows = rows
    self.columns = columns
    unsafe storage = .allocate(capacity: max(rows * columns, 1))
    unsafe storage.initialize(repeating: 0, count: max(rows * columns, 1))
  }

  deinit { unsafe storage.deallocate() }

  /// The first value, row-major. Who writes takes care that no run is under way, and that others write elsewhere.
  @unsafe
  public var pointer: UnsafeMutablePointer<Float> { unsafe storage }

  /// A copy of the values.
  public var matrix: FloatMatrix {
    var result = FloatMatrix(zeros: rows, columns)
    result.values = unsafe Array(UnsafeBufferPointer(start: storage, count: rows * columns))
    return result
  }

  /// Replaces all values.
  public func assign(_ values: [Float]) {
    precondition(values.count == rows * columns, "values of another shape")
    for index in values.indices { unsafe storage[index] = values[index] }
  }
}
