import OrderedCollections

/// Types of a node's operands and its attributes, as type inference asks for them.
struct OperandTypes {
  /// Why operands do not fit an operation.
  struct Mismatch: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
  }

  private enum OperandType {
    case value(ValueType)
    case constant(encodings: [String], dimensions: [Int])
  }

  private let operands: [OperandType]
  private let node: Node
  private let definition: OperationDefinition

  /// Resolves the operands and checks number and kinds.
  init(_ node: Node, definition: OperationDefinition, graph: Graph) throws(Mismatch) {
    let required = definition.operands.filter { !$0.isOptional }.count
    guard (required...definition.operands.count).contains(node.operands.count) else {
      throw Mismatch("takes \(definition.operands.count) operands, not \(node.operands.count)")
    }
    var operands: [OperandType] = []
    for (operand, expected) in zip(node.operands, definition.operands) {
      switch (operand, expected.kind) {
      case (.value(let value), .value):
        guard graph.contains(value) else {
          throw Mismatch("operand '\(expected.name)' is no value of this graph")
        }
        operands.append(.value(graph.type(of: value)))
      case (.constant(let name), .constant), (.constant(let name), .constants):
        operands.append(try Self.concatenated([name], graph: graph))
      case (.concatenation(let names), .constants):
        guard names.count >= 2 else { throw Mismatch("a concatenation needs two constants or more") }
        operands.append(try Self.concatenated(names, graph: graph))
      default:
        throw Mismatch("operand '\(expected.name)' must be a \(expected.kind.rawValue)")
      }
    }
    self.operands = operands
    self.node = node
    self.definition = definition
  }

  private static func concatenated(_ names: [String], graph: Graph) throws(Mismatch) -> OperandType {
    var encodings: [String] = []
    var dimensions: [Int] = []
    for name in names {
      guard let type = graph.constants[name] else {
        throw Mismatch("the constant '\(TextForm.word(name))' is not declared")
      }
      encodings.append(type.encoding)
      guard let rows = type.dimensions.first else { throw Mismatch("'\(TextForm.word(name))' is a scalar") }
      if dimensions.isEmpty {
        dimensions = type.dimensions
        continue
      }
      guard dimensions.dropFirst() == type.dimensions.dropFirst() else {
        throw Mismatch("'\(TextForm.word(name))' has other columns than the constants before it")
      }
      let (sum, overflow) = dimensions[0].addingReportingOverflow(rows)
      guard !overflow, sum <= TextForm.maximumExtent else {
        throw Mismatch("the concatenation has too many rows")
      }
      dimensions[0] = sum
    }
    return .constant(encodings: encodings, dimensions: dimensions)
  }

  /// Whether an optional operand is given.
  func has(_ position: Int) -> Bool { position < operands.count }

  private func operandName(_ position: Int) -> String { definition.operands[position].name }

  /// The type of a value operand.
  func value(_ position: Int) throws(Mismatch) -> ValueType {
    guard position < operands.count, case .value(let type) = operands[position] else {
      throw Mismatch("operand '\(operandName(position))' must be a value")
    }
    return type
  }

  /// Rows (any dimension) and columns of an activation operand `f32[rows, columns]`.
  func matrix(_ position: Int) throws(Mismatch) -> (rows: Dimension, columns: Int) {
    let type = try value(position)
    guard type.element == .f32, type.dimensions.count == 2, let columns = type.dimensions[1].extent else {
      throw Mismatch("operand '\(operandName(position))' must be f32[rows, columns], not \(type)")
    }
    return (type.dimensions[0], columns)
  }

  /// The rows of an operand `i32[rows]`.
  func indices(_ position: Int) throws(Mismatch) -> Dimension {
    let type = try value(position)
    guard type.element == .i32, type.dimensions.count == 1 else {
      throw Mismatch("operand '\(operandName(position))' must be i32[rows], not \(type)")
    }
    return type.dimensions[0]
  }

  /// Extents of a constant operand.
  func constant(_ position: Int) throws(Mismatch) -> [Int] {
    guard position < operands.count, case .constant(_, let dimensions) = operands[position] else {
      throw Mismatch("operand '\(operandName(position))' must be a constant")
    }
    return dimensions
  }

  /// Extents of a constant operand of the given rank.
  func constant(_ position: Int, rank: Int) throws(Mismatch) -> [Int] {
    let dimensions = try constant(position)
    guard dimensions.count == rank else {
      throw Mismatch("operand '\(operandName(position))' must have rank \(rank), not \(dimensions.count)")
    }
    return dimensions
  }

  /// A vector of `count` numbers.
  func vector(_ position: Int, count: Int) throws(Mismatch) {
    let found = try constant(position, rank: 1)[0]
    guard found == count else {
      throw Mismatch("operand '\(operandName(position))' must have \(count) elements, not \(found)")
    }
  }

  /// A constant stored as float32.
  func requireFloat32(_ position: Int) throws(Mismatch) {
    guard position < operands.count, case .constant(let encodings, _) = operands[position],
      encodings.allSatisfy({ $0 == "f32" })
    else { throw Mismatch("operand '\(operandName(position))' must be stored as f32") }
  }

  /// A whole-number attribute inside a range.
  func integer(_ name: String, in range: ClosedRange<Int>) throws(Mismatch) -> Int {
    guard let value = try? node.integer(name) else { throw Mismatch("attribute '\(name)' is missing") }
    guard range.contains(value) else { throw Mismatch("\(name) = \(value) is not in \(range)") }
    return value
  }

  /// A truth value.
  func bool(_ name: String) throws(Mismatch) -> Bool {
    guard let value = try? node.bool(name) else { throw Mismatch("attribute '\(name)' is missing") }
    return value
  }

  /// A real attribute.
  func float(_ name: String) throws(Mismatch) -> Double {
    guard let value = try? node.float(name) else { throw Mismatch("attribute '\(name)' is missing") }
    return value
  }

  /// A real attribute that must not be negative.
  func nonNegative(_ name: String) throws(Mismatch) {
    let value = try float(name)
    guard value >= 0 else { throw Mismatch("\(name) = \(value) is negative") }
  }

  /// A text attribute with few choices.
  func choice(_ name: String, of choices: [String]) throws(Mismatch) {
    guard let value = try? node.string(name), choices.contains(value) else {
      throw Mismatch("\(name) must be one of \(choices.joined(separator: ", "))")
    }
  }
}
