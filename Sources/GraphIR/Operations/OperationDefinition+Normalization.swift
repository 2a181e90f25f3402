extension OperationDefinition {
  static let normalizations = [
    OperationDefinition(
      operation: .rmsNorm,
      summary: """
        y[t, i] = (offset + weight[i]) * x[t, i] / sqrt(mean over j of x[t, j]^2 + eps). With heads > 1 the columns are \
        that many heads of equal width, each normalized by itself; the weight [width] is then shared by all heads, or \
        of all columns, [heads, width] or flat. The sum offset + weight is rounded to float32.
        """,
      operands: [.value("x"), .constant("weight")],
      attributes: [.required("eps", .float), .optional("offset", .float(0)), .optional("heads", .int(1))]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.normalizationWeight(1)
      try types.nonNegative("eps")
      return [try types.value(0)]
    },
    OperationDefinition(
      operation: .layerNorm,
      summary: """
        y[t, i] = (offset + weight[i]) * (x[t, i] - mean[t]) / sqrt(variance[t] + eps), plus bias[i] when there is a \
        bias; mean and variance (the mean of the squared differences) are those of row t. Heads and the sum \
        offset + weight as in rms_norm; the weight may be a concatenation.
        """,
      operands: [.value("x"), .constants("weight"), .optionalConstant("bias")],
      attributes: [.required("eps", .float), .optional("offset", .float(0)), .optional("heads", .int(1))]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.normalizationWeight(1)
      if types.has(2) { try types.normalizationWeight(2) }
      try types.nonNegative("eps")
      return [try types.value(0)]
    },
  ]
}

extension OperandTypes {
  /// A gain or shift of operand 0: one number a column of a head, or one a column.
  fileprivate func normalizationWeight(_ position: Int) throws(Mismatch) {
    let columns = try matrix(0).columns
    let heads = try integer("heads", in: 1...1 << 16)
    guard columns % heads == 0 else { throw Mismatch("\(heads) heads do not divide \(columns) columns") }
    let found = try constant(position)
    guard [[columns / heads], [columns], [heads, columns / heads]].contains(found) else {
      throw Mismatch("a normalization of \(heads) x \(columns / heads) columns by a constant \(found)")
    }
  }
}
