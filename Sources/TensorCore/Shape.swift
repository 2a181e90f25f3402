/// Dimensions of a tensor, outermost first; an empty shape is a scalar.
public struct Shape: Hashable, Sendable, CustomStringConvertible, ExpressibleByArrayLiteral {
  /// The dimensions, none of them negative.
  public let dimensions: [Int]
  /// The product of the dimensions.
  public let elementCount: Int

  /// Checks the dimensions.
  /// - Throws: ``TensorCoreError/negative(_:)`` or ``TensorCoreError/overflow(_:)``.
  public init(_ dimensions: [Int]) throws(TensorCoreError) {
    self.elementCount = try Checked.product(dimensions)
    self.dimensions = dimensions
  }

  /// A shape written in the program; traps on a negative dimension, so never for data from a file.
  public init(arrayLiteral elements: Int...) {
    precondition(elements.allSatisfy { $0 >= 0 }, "negative dimension")
    self.dimensions = elements
    self.elementCount = elements.reduce(1, *)
  }

  /// Number of dimensions.
  public var rank: Int { dimensions.count }

  /// The innermost dimension; 1 for a scalar.
  public var columns: Int { dimensions.last ?? 1 }

  /// Product of all but the innermost dimension.
  public var rows: Int { dimensions.dropLast().reduce(1, *) }

  /// `[out, in]` as printed everywhere.
  public var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
