import OrderedCollections

extension Graph {
  /// Reads the textual form, described in TextForm.md, and verifies it; the inverse of ``printed()``.
  ///
  /// Safe on any text: nesting, names, extents and counts are limited, and time and memory are linear in the length.
  /// - Throws: ``GraphError/syntax(line:column:reason:)`` for text that is not a graph, with the place.
  public init(parsing text: String) throws(GraphError) {
    try self.init(parsing: Array(text.utf8))
  }

  /// Reads the textual form from bytes; see ``init(parsing:)-swift.init``.
  /// - Throws: ``GraphError/syntax(line:column:reason:)`` for text that is not a graph, with the place.
  public init(parsing bytes: [UInt8]) throws(GraphError) {
    var parser = try GraphParser(bytes)
    self = try parser.graph()
    try verify()
  }
}

/// A recursive-descent parser of the textual form; only blocks recurse, to a limited depth.
struct GraphParser {
  private var lexer: GraphLexer
  private var result = Graph(name: "")

  init(_ bytes: [UInt8]) throws(GraphError) { lexer = try GraphLexer(bytes) }

  mutating func graph() throws(GraphError) -> Graph {
    try keyword("graph")
    try expect("@")
    result.name = try name()
    try expect("(")
    try inputs()
    try expect("{")
    if lexer.token == .word("constants") { try constants() }
    try body(scope: "")
    try returned()
    try expect("}")
    guard lexer.token == .end else { throw lexer.error("expected the end of the text, found \(lexer.found)") }
    return result
  }

  // MARK: - Declarations

  private mutating func inputs() throws(GraphError) {
    if try accept(")") { return }
    repeat {
      let duplicate = lexer.error("another value has this name")
      let name = try name()
      try expect(":")
      let type = try valueType()
      guard result.value(named: name) == nil else { throw duplicate }
      result.inputs.append(result.makeValue(exactly: name, type: type))
    } while try accept(",")
    try expect(")")
  }

  private mutating func constants() throws(GraphError) {
    try keyword("constants")
    try expect("{")
    while try !accept("}") {
      let duplicate = lexer.error("another constant has this name")
      try expect("@")
      let name = try name()
      guard result.constants[name] == nil else { throw duplicate }
      try expect(":")
      let encoding = try self.name()
      try expect("[")
      result.constants[name] = ConstantType(encoding, try extents())
    }
  }

  private mutating func valueType() throws(GraphError) -> ValueType {
    guard case .word(let word) = lexer.token, let element = ValueElement(rawValue: word) else {
      throw lexer.error("expected an element type (f32, i32), found \(lexer.found)")
    }
    try lexer.advance()
    try expect("[")
    var dimensions: [Dimension] = []
    if try accept("]") { return ValueType(element, []) }
    repeat {
      guard case .word(let word) = lexer.token, dimensions.count < TextForm.maximumRank else {
        throw lexer.error("expected a dimension, found \(lexer.found)")
      }
      if let first = word.utf8.first, TextForm.isDigit(first) {
        dimensions.append(.fixed(try extent()))
      } else {
        guard TextForm.isIdentifier(word) else { throw lexer.error("'\(word)' is not a dimension") }
        dimensions.append(.symbol(word))
        try lexer.advance()
      }
    } while try accept(",")
    try expect("]")
    return ValueType(element, dimensions)
  }

  /// Extents up to the closing bracket.
  private mutating func extents() throws(GraphError) -> [Int] {
    var extents: [Int] = []
    if try accept("]") { return extents }
    repeat {
      guard extents.count < TextForm.maximumRank else { throw lexer.error("too many dimensions") }
      extents.append(try extent())
    } while try accept(",")
    try expect("]")
    return extents
  }

  private mutating func extent() throws(GraphError) -> Int {
    guard case .word(let word) = lexer.token, word.utf8.allSatisfy(TextForm.isDigit), let value = Int(word),
      value <= TextForm.maximumExtent
    else { throw lexer.error("expected an extent from 0 to \(TextForm.maximumExtent), found \(lexer.found)") }
    try lexer.advance()
    return value
  }

  // MARK: - Nodes

  /// Nodes and blocks, up to `}` or `return`.
  private mutating func body(scope: String) throws(GraphError) {
    while true {
      switch lexer.token {
      case .punctuation(UInt8(ascii: "%")): try node(scope: scope)
      case .punctuation(UInt8(ascii: "}")), .word("return"): return
      case .word(let label):
        let inner = scope.isEmpty ? label : scope + "." + label
        guard TextForm.isScope(inner) else {
          throw lexer.error("expected a node or a block, found \(lexer.found)")
        }
        try lexer.advance()
        try expect("{")
        try body(scope: inner)
        try expect("}")
      default: throw lexer.error("expected a node or a block, found \(lexer.found)")
      }
    }
  }

  private mutating func node(scope: String) throws(GraphError) {
    let place = lexer
    var names: [String] = []
    repeat {
      guard names.count < 16 else { throw lexer.error("too many results") }
      let duplicate = lexer.error("another value has this name")
      try expect("%")
      let name = try name()
      guard result.value(named: name) == nil, !names.contains(name) else { throw duplicate }
      names.append(name)
    } while try accept(",")
    try expect("=")
    guard case .word(let operation) = lexer.token else {
      throw lexer.error("expected an operation, found \(lexer.found)")
    }
    try lexer.advance()
    let operands = try operands()
    let attributes = try attributes()
    try expect(":")
    let typePlace = lexer
    var types = [try valueType()]
    while try accept(",") {
      guard types.count < 16 else { throw lexer.error("too many types") }
      types.append(try valueType())
    }

    let results: [ValueID]
    do throws(GraphError) {
      results = try result.insert(
        Operation(rawValue: operation), operands, attributes: attributes, names: names, scope: scope)
    } catch {
      if case .node(_, _, let reason) = error { throw place.error(reason) }
      throw error
    }
    guard results.count == names.count else {
      throw place.error("\(operation) has \(results.count) results, not \(names.count)")
    }
    let inferred = results.map { result.type(of: $0) }
    guard inferred == types else {
      throw typePlace.error("the type must be \(inferred.map(\.description).joined(separator: ", "))")
    }
  }

  private mutating func operands() throws(GraphError) -> [Operand] {
    var operands: [Operand] = []
    repeat {
      guard operands.count < 64 else { throw lexer.error("too many operands") }
      if try accept("[") {
        var names: [String] = []
        repeat {
          try expect("@")
          names.append(try name())
        } while try accept(",")
        try expect("]")
        operands.append(.concatenation(names))
      } else if try accept("@") {
        operands.append(.constant(try name()))
      } else if lexer.token == .punctuation(UInt8(ascii: "%")) {
        operands.append(.value(try value()))
      } else {
        throw lexer.error("expected an operand, found \(lexer.found)")
      }
    } while try accept(",")
    return operands
  }

  private mutating func value() throws(GraphError) -> ValueID {
    let unknown = lexer.error("no value before this place has this name")
    try expect("%")
    guard let value = result.value(named: try name()) else { throw unknown }
    return value
  }

  private mutating func attributes() throws(GraphError) -> OrderedDictionary<String, Attribute> {
    var attributes: OrderedDictionary<String, Attribute> = [:]
    guard try accept("{") else { return attributes }
    repeat {
      guard case .word(let key) = lexer.token else {
        throw lexer.error("expected an attribute, found \(lexer.found)")
      }
      guard attributes[key] == nil, attributes.count < 64 else {
        throw lexer.error("attribute \(lexer.found) again")
      }
      try lexer.advance()
      try expect("=")
      attributes[key] = try attribute()
    } while try accept(",")
    try expect("}")
    return attributes
  }

  private mutating func attribute() throws(GraphError) -> Attribute {
    switch lexer.token {
    case .quoted(let text):
      try lexer.advance()
      return .string(text)
    case .word("true"), .word("false"):
      let value = lexer.token == .word("true")
      try lexer.advance()
      return .bool(value)
    case .punctuation(UInt8(ascii: "[")):
      try lexer.advance()
      return .ints(try integers())
    default:
      return try number()
    }
  }

  private mutating func integers() throws(GraphError) -> [Int] {
    var values: [Int] = []
    if try accept("]") { return values }
    repeat {
      guard case .int(let value) = try number() else { throw lexer.error("expected whole numbers") }
      values.append(value)
    } while try accept(",")
    try expect("]")
    return values
  }

  /// A whole number, or a real one (recognised by a point or an exponent).
  private mutating func number() throws(GraphError) -> Attribute {
    guard case .word(let word) = lexer.token, TextForm.isNumber(word) else {
      throw lexer.error("expected a value, found \(lexer.found)")
    }
    var attribute: Attribute?
    if word.utf8.contains(where: { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "e") }) {
      if let value = Double(word), value.isFinite { attribute = .float(value) }
    } else if let value = Int(word) {
      attribute = .int(value)
    }
    guard let attribute else { throw lexer.error("the number is out of range") }
    try lexer.advance()
    return attribute
  }

  private mutating func returned() throws(GraphError) {
    try keyword("return")
    repeat { result.outputs.append(try value()) } while try accept(",")
  }

  // MARK: - Tokens

  private mutating func accept(_ punctuation: UnicodeScalar) throws(GraphError) -> Bool {
    guard lexer.token == .punctuation(UInt8(ascii: punctuation)) else { return false }
    try lexer.advance()
    return true
  }

  private mutating func expect(_ punctuation: UnicodeScalar) throws(GraphError) {
    guard try accept(punctuation) else {
      throw lexer.error("expected '\(punctuation)', found \(lexer.found)")
    }
  }

  private mutating func keyword(_ word: String) throws(GraphError) {
    guard lexer.token == .word(word) else { throw lexer.error("expected '\(word)', found \(lexer.found)") }
    try lexer.advance()
  }

  /// A plain word or quoted text.
  private mutating func name() throws(GraphError) -> String {
    switch lexer.token {
    case .word(let text) where !text.utf8.contains(UInt8(ascii: "+")), .quoted(let text):
      guard !text.isEmpty else { throw lexer.error("the name is empty") }
      try lexer.advance()
      return text
    default:
      throw lexer.error("expected a name, found \(lexer.found)")
    }
  }
}
