import TensorCore

/// A value during a run: rows of float32, or integers.
enum RuntimeValue {
  /// `elements` in row-major order.
  case floats(elements: [Float], dimensions: [Int])
  /// Integers in row-major order.
  case integers(elements: [Int32], dimensions: [Int])

  /// Converts an input and binds the symbols of its type.
  init(_ tensor: Tensor, type: ValueType, name: String, symbols: inout [String: Int]) throws {
    let found = tensor.shape.dimensions
    guard found.count == type.dimensions.count else {
      throw GraphError.execution(name, reason: "the input has shape \(tensor.shape), not \(type)")
    }
    for (extent, dimension) in zip(found, type.dimensions) {
      switch dimension {
      case .fixed(extent): continue
      case .symbol(let symbol) where symbols[symbol] == nil || symbols[symbol] == extent:
        symbols[symbol] = extent
      default: throw GraphError.execution(name, reason: "the input has shape \(tensor.shape), not \(type)")
      }
    }
    switch type.element {
    case .f32: self = .floats(elements: try tensor.floats(), dimensions: found)
    case .i32:
      let wide = try tensor.integers()
      let elements = wide.compactMap { Int32(exactly: $0) }
      guard elements.count == wide.count else {
        throw GraphError.execution(name, reason: "an element does not fit 32 bits")
      }
      self = .integers(elements: elements, dimensions: found)
    }
  }

  /// The value as a tensor.
  func tensor() throws -> Tensor {
    switch self {
    case .floats(let elements, let dimensions): try Tensor(elements, shape: Shape(dimensions))
    case .integers(let elements, let dimensions): try Tensor(elements, shape: Shape(dimensions))
    }
  }
}

/// Rows of float32, row-major: what most operations work on.
struct Matrix {
  let rows: Int
  let columns: Int
  var elements: [Float]

  init(rows: Int, columns: Int) {
    self.init(rows: rows, columns: columns, elements: [Float](repeating: 0, count: rows * columns))
  }

  init(rows: Int, columns: Int, elements: [Float]) {
    self.rows = rows
    self.columns = columns
    self.elements = elements
  }

  subscript(row: Int, column: Int) -> Float {
    get { elements[row * columns + column] }
    set { elements[row * columns + column] = newValue }
  }

  /// The elements of one row.
  func row(_ row: Int) -> ArraySlice<Float> { elements[row * columns..<(row + 1) * columns] }

  /// The same shape with every element replaced.
  func map(_ transform: (Float) -> Float) -> Matrix {
    Matrix(rows: rows, columns: columns, elements: elements.map(transform))
  }

  /// The same shape with every element joined with the one of another matrix of this shape.
  func zip(_ other: Matrix, _ transform: (Float, Float) -> Float) -> Matrix {
    Matrix(rows: rows, columns: columns, elements: Swift.zip(elements, other.elements).map(transform))
  }

  /// As a value.
  var value: RuntimeValue { .floats(elements: elements, dimensions: [rows, columns]) }
}

/// One node with its operands at hand.
struct InterpreterCall {
  enum Operand {
    case value(RuntimeValue)
    case constants([Tensor])
  }

  let node: Node
  let label: String
  let operands: [Operand]

  /// An error about this node.
  func error(_ reason: String) -> GraphError { .node(label, scope: node.scope, reason: reason) }

  /// A matrix operand.
  func matrix(_ position: Int) throws -> Matrix {
    guard position < operands.count, case .value(.floats(let elements, let dimensions)) = operands[position],
      dimensions.count == 2
    else { throw error("operand \(position) is not a matrix") }
    return Matrix(rows: dimensions[0], columns: dimensions[1], elements: elements)
  }

  /// An operand of integers.
  func integers(_ position: Int) throws -> [Int32] {
    guard position < operands.count, case .value(.integers(let elements, _)) = operands[position] else {
      throw error("operand \(position) is not a list of integers")
    }
    return elements
  }

  /// The constants of an operand, in order.
  func constants(_ position: Int) throws -> [Tensor] {
    guard position < operands.count, case .constants(let tensors) = operands[position] else {
      throw error("operand \(position) is not a constant")
    }
    return tensors
  }

  /// All elements of a constant operand; those of a concatenation follow one another.
  func vector(_ position: Int) throws -> [Float] { try constants(position).flatMap { try $0.floats() } }
}
