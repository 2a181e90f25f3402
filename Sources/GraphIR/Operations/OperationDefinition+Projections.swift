extension OperationDefinition {
  static let projections = [
    OperationDefinition(
      operation: .embedding,
      summary:
        "Row tokens[t] + offset of table [rows, columns], for each t. A row outside the table is an error.",
      operands: [.value("tokens"), .constant("table")], attributes: [.optional("offset", .int(0))]
    ) { (types) throws(OperandTypes.Mismatch) in
      let rows = try types.indices(0)
      let table = try types.constant(1, rank: 2)
      _ = try types.integer("offset", in: 0...max(table[0] - 1, 0))
      return [ValueType(.f32, [rows, .fixed(table[1])])]
    },
    OperationDefinition(
      operation: .linear,
      summary:
        "y[t, o] = sum over i of x[t, i] * weight[o, i], plus bias[o] when there is a bias. Weights and biases "
        + "may be concatenations: rows of several constants.",
      operands: [.value("x"), .constants("weight"), .constants("bias", optional: true)], attributes: [],
      infer: typesOfLinear),
    OperationDefinition(
      operation: .slice,
      summary: "Columns start..<start + length of x.",
      operands: [.value("x")],
      attributes: [.required("start", .int), .required("length", .int)]
    ) { (types) throws(OperandTypes.Mismatch) in
      let x = try types.matrix(0)
      let start = try types.integer("start", in: 0...TextForm.maximumExtent)
      let length = try types.integer("length", in: 1...TextForm.maximumExtent)
      guard start <= x.columns, length <= x.columns - start else {
        throw OperandTypes.Mismatch("columns \(start)..<\(start + length) of \(x.columns)")
      }
      return [ValueType(.f32, [x.rows, .fixed(length)])]
    },
  ]

  /// The product of x with weight; the bias has a number a row.
  @Sendable
  static func typesOfLinear(_ types: OperandTypes) throws(OperandTypes.Mismatch) -> [ValueType] {
    let x = try types.matrix(0)
    let weight = try types.constant(1, rank: 2)
    guard weight[1] == x.columns else {
      throw OperandTypes.Mismatch("weight has \(weight[1]) columns, x has \(x.columns)")
    }
    if types.has(2) { try types.vector(2, count: weight[0]) }
    return [ValueType(.f32, [x.rows, .fixed(weight[0])])]
  }
}
