extension OperationDefinition {
  static let elementwise = plain + limits + mixing

  private static let plain = [
    OperationDefinition(
      operation: .add, summary: "y = a + b, element by element.", operands: [.value("a"), .value("b")],
      attributes: [], infer: sameTypes),
    OperationDefinition(
      operation: .multiply, summary: "y = a * b, element by element.", operands: [.value("a"), .value("b")],
      attributes: [], infer: sameTypes),
    OperationDefinition(
      operation: .scale, summary: "y = factor * x; the factor is rounded to float32 first.",
      operands: [.value("x")], attributes: [.required("factor", .float)], infer: typeOfFirst),
    OperationDefinition(
      operation: .silu, summary: "y = x / (1 + exp(-x)).", operands: [.value("x")], attributes: [],
      infer: typeOfFirst),
    OperationDefinition(
      operation: .relu, summary: "y = x where x is positive, 0 elsewhere.", operands: [.value("x")],
      attributes: [], infer: typeOfFirst),
    OperationDefinition(
      operation: .sigmoid, summary: "y = 1 / (1 + exp(-x)).", operands: [.value("x")], attributes: [],
      infer: typeOfFirst),
    OperationDefinition(
      operation: .gelu,
      summary: "y = x * Phi(x), Phi the normal distribution (approximate = none), or "
        + "x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) (approximate = tanh), or "
        + "x / (1 + exp(-1.702 x)) (approximate = sigmoid).",
      operands: [.value("x")], attributes: [.optional("approximate", .string("none"))]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.choice("approximate", of: ["none", "tanh", "sigmoid"])
      return try typeOfFirst(types)
    },
    OperationDefinition(
      operation: .softcap, summary: "y = cap * tanh(x / cap).", operands: [.value("x")],
      attributes: [.required("cap", .float)]
    ) { (types) throws(OperandTypes.Mismatch) in
      guard try types.float("cap") > 0 else { throw OperandTypes.Mismatch("cap must be positive") }
      return try typeOfFirst(types)
    },
  ]

  /// Elementwise operations whose other operand or range is not like x.
  private static let limits = [
    OperationDefinition(
      operation: .clamp, summary: "y = min(max(x, minimum), maximum).", operands: [.value("x")],
      attributes: [.required("minimum", .float), .required("maximum", .float)]
    ) { (types) throws(OperandTypes.Mismatch) in
      guard try types.float("minimum") <= types.float("maximum") else {
        throw OperandTypes.Mismatch("the minimum is above the maximum")
      }
      return try typeOfFirst(types)
    },
    OperationDefinition(
      operation: .scaleRows, summary: "y[t, i] = x[t, i] * factor[t, 0]: every row has a factor of its own.",
      operands: [.value("x"), .value("factor")], attributes: []
    ) { (types) throws(OperandTypes.Mismatch) in
      let (x, factor) = (try types.matrix(0), try types.matrix(1))
      guard factor.columns == 1, factor.rows == x.rows else {
        throw OperandTypes.Mismatch("the factor is not a column with the rows of x")
      }
      return [try types.value(0)]
    },
  ]

  /// Operations that mix columns.
  private static let mixing = [
    OperationDefinition(
      operation: .hadamard,
      summary: "y = x H, each run of `block` columns by itself; H is the Hadamard matrix of that size, "
        + "H[i, j] = (-1)^(ones in i & j) / sqrt(block), its own inverse.",
      operands: [.value("x")], attributes: [.required("block", .int)]
    ) { (types) throws(OperandTypes.Mismatch) in
      let (block, x) = (try types.integer("block", in: 2...(1 << 30)), try types.matrix(0))
      guard block & (block - 1) == 0, x.columns.isMultiple(of: block) else {
        throw OperandTypes.Mismatch("block must be a power of two that divides the columns")
      }
      return try typeOfFirst(types)
    }
  ]

  /// One result like the first operand, which must be a matrix of activations.
  @Sendable
  static func typeOfFirst(_ types: OperandTypes) throws(OperandTypes.Mismatch) -> [ValueType] {
    _ = try types.matrix(0)
    return [try types.value(0)]
  }

  /// One result like both operands, which must be matrices of one type.
  @Sendable
  static func sameTypes(_ types: OperandTypes) throws(OperandTypes.Mismatch) -> [ValueType] {
    _ = try types.matrix(0)
    let (a, b) = (try types.value(0), try types.value(1))
    guard a == b else { throw OperandTypes.Mismatch("operands of unequal types \(a) and \(b)") }
    return [a]
  }
}
