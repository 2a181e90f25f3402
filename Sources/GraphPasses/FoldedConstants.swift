import OrderedCollections
import TensorCore

/// How a constant that a pass made is computed from those of the model, in float32 with sums in float64.
public indirect enum ConstantExpression: Sendable, Equatable {
  /// A constant of the model, or one that an earlier pass made.
  case constant(String)
  /// A vector of ones.
  case ones(Int)
  /// Every element times a number.
  case scaled(ConstantExpression, Double)
  /// Every element plus a number.
  case plus(ConstantExpression, Double)
  /// A matrix whose columns are multiplied by the elements of a vector.
  case columnsScaled(ConstantExpression, by: ConstantExpression)
  /// The product of two matrices, or of a matrix and a vector.
  case product(ConstantExpression, ConstantExpression)
  /// The sum of two of one shape.
  case sum(ConstantExpression, ConstantExpression)
}

/// The constants that passes made.
public struct FoldedConstants: Sendable {
  /// How each is computed, by name.
  public private(set) var expressions: OrderedDictionary<String, ConstantExpression> = [:]

  /// No constants.
  public init() {}

  /// Adds those of a pass.
  public mutating func add(_ report: PassReport) {
    for (name, expression) in report.folds { expressions[name] = expression }
  }

  /// The value of a constant, float32; nil for one that no pass made.
  /// - Parameter constant: Finds constants of the model, decoded.
  /// - Throws: `TensorCoreError`, and what `constant` throws.
  public func tensor(_ name: String, constant: (String) throws -> Tensor) throws -> Tensor? {
    guard let expression = expressions[name] else { return nil }
    let value = try value(of: expression, constant)
    return try Tensor(value.elements, shape: Shape(value.dimensions))
  }

  private struct Value {
    var dimensions: [Int]
    var elements: [Float]
    var columns: Int { dimensions.last ?? 1 }
  }

  private func value(
    of expression: ConstantExpression, _ constant: (String) throws -> Tensor
  ) throws -> Value {
    switch expression {
    case .constant(let name):
      let tensor = try tensor(name, constant: constant) ?? constant(name)
      return Value(dimensions: tensor.shape.dimensions, elements: try tensor.floats())
    case .ones(let count):
      return Value(dimensions: [count], elements: [Float](repeating: 1, count: count))
    case .scaled(let inner, let factor):
      var value = try value(of: inner, constant)
      for index in value.elements.indices { value.elements[index] *= Float(factor) }
      return value
    case .plus(let inner, let offset):
      var value = try value(of: inner, constant)
      for index in value.elements.indices { value.elements[index] += Float(offset) }
      return value
    case .columnsScaled(let inner, let factors):
      var value = try value(of: inner, constant)
      let factors = try self.value(of: factors, constant).elements
      try Self.require(factors.count == value.columns, "\(value.columns) factors", "\(factors.count)")
      for index in value.elements.indices { value.elements[index] *= factors[index % factors.count] }
      return value
    case .product(let a, let b): return try Self.product(value(of: a, constant), value(of: b, constant))
    case .sum(let a, let b):
      var value = try value(of: a, constant)
      let other = try self.value(of: b, constant).elements
      try Self.require(other.count == value.elements.count, "\(value.elements.count) terms", "\(other.count)")
      for index in value.elements.indices { value.elements[index] += other[index] }
      return value
    }
  }

  private static func product(_ a: Value, _ b: Value) throws -> Value {
    let isVector = b.dimensions.count == 1
    let (rows, inner) = (a.dimensions.first ?? 0, a.columns)
    let columns = isVector ? 1 : b.columns
    try require(b.elements.count == inner * columns, "\(inner) rows", "\(b.dimensions)")
    var elements: [Float] = []
    elements.reserveCapacity(rows * columns)
    var sums = [Double](repeating: 0, count: columns)
    for row in 0..<rows {
      for column in 0..<columns { sums[column] = 0 }
      for index in 0..<inner {
        let factor = Double(a.elements[row * inner + index])
        for column in 0..<columns { sums[column] += factor * Double(b.elements[index * columns + column]) }
      }
      elements += sums.map { Float($0) }
    }
    return Value(dimensions: isVector ? [rows] : [rows, columns], elements: elements)
  }

  private static func require(_ fits: Bool, _ expected: String, _ found: String) throws(TensorCoreError) {
    guard fits else { throw .shapeMismatch(expected: expected, found: found) }
  }
}
