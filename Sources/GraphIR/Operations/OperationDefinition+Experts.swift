extension OperationDefinition {
  private static let expertRange = 1...1 << 12

  static let experts = [
    OperationDefinition(
      operation: .route,
      summary: """
        Chooses `chosen` experts for each token from logits [T, experts] and gives their weights [T, experts], 0 for all \
        others. Scores are the softmax of the logits, or their sigmoid. Experts are chosen by score + bias (when there is \
        a bias [experts]), the lower number first among equals. With groups > 1 only the kept_groups groups with the \
        largest sum of their group_top largest values are eligible. The weights are the scores, without bias; normalized: \
        divided by their sum; then times factor.
        """,
      operands: [.value("logits"), .optionalConstant("bias")],
      attributes: [
        .required("chosen", .int), .optional("scores", .string("softmax")),
        .optional("normalized", .bool(false)), .optional("factor", .float(1)), .optional("groups", .int(1)),
        .optional("kept_groups", .int(1)), .optional("group_top", .int(1)),
      ]
    ) { (types) throws(OperandTypes.Mismatch) in
      let experts = try types.matrix(0).columns
      guard expertRange.contains(experts) else { throw OperandTypes.Mismatch("\(experts) experts") }
      if types.has(1) { try types.vector(1, count: experts) }
      try types.choice("scores", of: ["softmax", "sigmoid"])
      _ = try types.float("factor")
      let groups = try types.integer("groups", in: 1...experts)
      guard experts % groups == 0 else {
        throw OperandTypes.Mismatch("\(experts) experts do not form \(groups) equal groups")
      }
      let kept = try types.integer("kept_groups", in: 1...groups)
      _ = try types.integer("group_top", in: 1...experts / groups)
      _ = try types.integer("chosen", in: 1...experts / groups * kept)
      return [try types.value(0)]
    },
    OperationDefinition(
      operation: .expertLinear,
      summary: """
        For each token and each of its experts (those with a weight other than 0 in routing [T, experts], by rising \
        number, at most `chosen`) the product of a row of x with the expert's matrix. The weight is the matrices of all \
        experts, one below the other. The j-th product of a token is columns j * out ..< (j + 1) * out of its result; \
        those of missing experts are 0. x has either one row of columns for all, or one after the other for each \
        of the `chosen` places.
        """,
      operands: [.value("x"), .value("routing"), .constants("weight")],
      attributes: [.required("chosen", .int)], infer: typesOfExperts),
    OperationDefinition(
      operation: .expertBias,
      summary: """
        x [T, chosen * n] plus the bias of the j-th expert of each token (as in expert_linear) in columns \
        j * n ..< (j + 1) * n; places of missing experts stay. The bias is the vectors [n] of all experts, one after the \
        other.
        """,
      operands: [.value("x"), .value("routing"), .constants("bias")], attributes: [.required("chosen", .int)]
    ) { (types) throws(OperandTypes.Mismatch) in
      let (x, routing) = (try types.matrix(0), try types.matrix(1))
      guard x.rows == routing.rows, expertRange.contains(routing.columns) else {
        throw OperandTypes.Mismatch("x has \(x.rows) rows, routing \(routing.rows) by \(routing.columns)")
      }
      let chosen = try types.integer("chosen", in: 1...routing.columns)
      let bias = try types.constant(2, rank: 1)[0]
      guard x.columns % chosen == 0, bias == x.columns / chosen * routing.columns else {
        throw OperandTypes.Mismatch(
          "\(bias) numbers are not \(routing.columns) biases for \(x.columns) columns of \(chosen) experts")
      }
      return [try types.value(0)]
    },
    OperationDefinition(
      operation: .expertSum,
      summary: """
        y[t] = sum over the j-th expert e of token t (as in expert_linear) of routing[t, e] * columns \
        j * n ..< (j + 1) * n of x[t], where n is the columns of x divided by `chosen`; in the order of the experts.
        """,
      operands: [.value("x"), .value("routing")], attributes: [.required("chosen", .int)]
    ) { (types) throws(OperandTypes.Mismatch) in
      let (x, routing) = (try types.matrix(0), try types.matrix(1))
      guard x.rows == routing.rows, expertRange.contains(routing.columns) else {
        throw OperandTypes.Mismatch("x has \(x.rows) rows, routing \(routing.rows) by \(routing.columns)")
      }
      let chosen = try types.integer("chosen", in: 1...routing.columns)
      guard x.columns % chosen == 0, x.columns > 0 else {
        throw OperandTypes.Mismatch("\(x.columns) columns are not the products of \(chosen) experts")
      }
      return [ValueType(.f32, [x.rows, .fixed(x.columns / chosen)])]
    },
  ]

  /// The products of x with the matrices of `chosen` experts.
  @Sendable
  static func typesOfExperts(_ types: OperandTypes) throws(OperandTypes.Mismatch) -> [ValueType] {
    let (x, routing) = (try types.matrix(0), try types.matrix(1))
    guard x.rows == routing.rows else {
      throw OperandTypes.Mismatch("x has \(x.rows) rows, routing \(routing.rows)")
    }
    guard expertRange.contains(routing.columns) else {
      throw OperandTypes.Mismatch("\(routing.columns) experts")
    }
    let chosen = try types.integer("chosen", in: 1...routing.columns)
    let weight = try types.constant(2, rank: 2)
    guard weight[0] % routing.columns == 0, weight[0] > 0 else {
      throw OperandTypes.Mismatch("\(weight[0]) rows are not the matrices of \(routing.columns) experts")
    }
    guard x.columns == weight[1] || x.columns == chosen * weight[1] else {
      throw OperandTypes.Mismatch(
        "weight has \(weight[1]) columns, x has \(x.columns) for \(chosen) experts")
    }
    let columns = weight[0] / routing.columns * chosen
    guard columns <= TextForm.maximumExtent else { throw OperandTypes.Mismatch("too many columns") }
    return [ValueType(.f32, [x.rows, .fixed(columns)])]
  }
}
