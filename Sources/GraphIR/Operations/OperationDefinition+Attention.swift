extension OperationDefinition {
  private static let headRange = 1...1 << 16

  static let attentions = [
    OperationDefinition(
      operation: .rope,
      summary: """
        Rotary position embedding of `heads` heads of head_dim columns. Pair i < n = count(inverse_frequencies) of each \
        head turns by the angle float32(positions[t]) * inverse_frequencies[i] (float32 product); cosine and sine are \
        multiplied by magnitude. The pair is columns (i, i + n) of the head, or (2i, 2i + 1) when interleaved; \
        (a, b) becomes (a cos - b sin, b cos + a sin). Columns from 2n on stay as they are. Frequencies are data, so that \
        every kind of context scaling is in them. Two kinds depend on the length L of the sequence, which is one more than \
        its last position, once it is above `context`: the long frequencies are then taken instead, or, with growth > 0, \
        1 / base^(i / n), base = theta * (growth * L / context - (growth - 1))^(n / (n - 1)).
        """,
      operands: [
        .value("x"), .value("positions"), .constant("inverse_frequencies"),
        .optionalConstant("long_frequencies"),
      ],
      attributes: [
        .required("heads", .int), .required("head_dim", .int), .optional("interleaved", .bool(false)),
        .optional("magnitude", .float(1)), .optional("context", .int(0)), .optional("growth", .float(0)),
        .optional("theta", .float(10_000)),
      ]
    ) { (types) throws(OperandTypes.Mismatch) in
      let x = try types.matrix(0)
      let rows = try types.indices(1)
      guard rows == x.rows else { throw OperandTypes.Mismatch("x has \(x.rows) rows, positions \(rows)") }
      let heads = try types.integer("heads", in: headRange)
      let width = try types.integer("head_dim", in: headRange)
      guard heads * width == x.columns else {
        throw OperandTypes.Mismatch("\(heads) heads of \(width) are not the \(x.columns) columns of x")
      }
      let pairs = try types.frequencies(2, long: 3, width: width)
      let growth = try types.float("growth")
      let isScaled = growth > 0 || types.has(3)
      _ = try types.integer("context", in: (isScaled ? 1 : 0)...TextForm.maximumExtent)
      guard growth == 0 || (growth > 0 && pairs > 1 && !types.has(3)), try types.float("theta") > 0 else {
        throw OperandTypes.Mismatch("growth \(growth) for \(pairs) frequencies")
      }
      return [try types.value(0)]
    },
    OperationDefinition(
      operation: .attention,
      summary: """
        Grouped-query attention: query head h attends with key and value head h / (heads / kv_heads). Scores are \
        scale * dot(q, k), then softcap * tanh(score / softcap) when softcap > 0, then, with slopes [heads], \
        slopes[h] * (j - i) is added for query position i and key position j, then softmax over the visible tokens and, with \
        sinks [heads], over the score sinks[h], which has no value; the result is the sum of v weighted so. Values \
        have value_dim columns a head, head_dim when that is 0. Token j is visible to token i when j <= i (causal) and, with a window > 0, \
        i - j < window. Keys and values of earlier tokens come from the cache numbered `cache` (one a layer), to which \
        those of the run are appended; the interpreter runs whole sequences from position 0.
        """,
      operands: [
        .value("q"), .value("k"), .value("v"), .optionalConstant("slopes"), .optionalConstant("sinks"),
      ],
      attributes: [
        .required("heads", .int), .required("kv_heads", .int), .required("head_dim", .int),
        .required("scale", .float), .optional("causal", .bool(true)), .optional("window", .int(0)),
        .optional("softcap", .float(0)), .optional("value_dim", .int(0)), .required("cache", .int),
      ]
    ) { (types) throws(OperandTypes.Mismatch) in try typesOfHeads(types, slopes: 3) },
    OperationDefinition(
      operation: .rotaryAttention,
      summary: """
        attention of rope(q) and rope(k), both rounded to float32, and v; operands and attributes are those of attention and \
        rope. Long frequencies mean nothing where context is 0, and stand there when slopes or sinks follow.
        """,
      operands: [
        .value("q"), .value("k"), .value("v"), .value("positions"), .constant("inverse_frequencies"),
        .optionalConstant("long_frequencies"), .optionalConstant("slopes"), .optionalConstant("sinks"),
      ],
      attributes: [
        .required("heads", .int), .required("kv_heads", .int), .required("head_dim", .int),
        .required("scale", .float), .optional("causal", .bool(true)), .optional("window", .int(0)),
        .optional("softcap", .float(0)), .optional("value_dim", .int(0)), .required("cache", .int),
        .optional("interleaved", .bool(false)), .optional("magnitude", .float(1)),
        .optional("context", .int(0)),
        .optional("growth", .float(0)), .optional("theta", .float(10_000)),
      ]
    ) { (types) throws(OperandTypes.Mismatch) in
      let (q, rows) = (try types.matrix(0), try types.indices(3))
      guard rows == q.rows else { throw OperandTypes.Mismatch("q has \(q.rows) rows, positions \(rows)") }
      let pairs = try types.frequencies(4, long: 5, width: try types.integer("head_dim", in: headRange))
      let growth = try types.float("growth")
      _ = try types.integer("context", in: (growth > 0 ? 1 : 0)...TextForm.maximumExtent)
      guard growth == 0 || (growth > 0 && pairs > 1), try types.float("theta") > 0 else {
        throw OperandTypes.Mismatch("growth \(growth) for \(pairs) frequencies")
      }
      return try typesOfHeads(types, slopes: 6)
    },
    OperationDefinition(
      operation: .joinHeads,
      summary: """
        Heads made of two parts: head h of the result is head h of x followed by head h of y, each with as many columns as \
        theirs divided by `heads`. With `shared` the columns of x are one head, which all heads of the result begin with.
        """,
      operands: [.value("x"), .value("y")],
      attributes: [.required("heads", .int), .optional("shared", .bool(false))]
    ) { (types) throws(OperandTypes.Mismatch) in
      let (x, y) = (try types.matrix(0), try types.matrix(1))
      guard x.rows == y.rows else { throw OperandTypes.Mismatch("x has \(x.rows) rows, y \(y.rows)") }
      let heads = try types.integer("heads", in: headRange)
      let isShared = try types.bool("shared")
      guard y.columns % heads == 0, isShared || x.columns % heads == 0 else {
        throw OperandTypes.Mismatch("\(x.columns) and \(y.columns) columns are not those of \(heads) heads")
      }
      let columns = (isShared ? x.columns * heads : x.columns) + y.columns
      guard columns <= TextForm.maximumExtent else { throw OperandTypes.Mismatch("too many columns") }
      return [ValueType(.f32, [x.rows, .fixed(columns)])]
    },
  ]

  /// The result of attention whose slopes are the operand at a position, before the sinks.
  private static func typesOfHeads(
    _ types: OperandTypes, slopes: Int
  ) throws(OperandTypes.Mismatch) -> [ValueType] {
    let (q, k, v) = (try types.matrix(0), try types.matrix(1), try types.matrix(2))
    guard q.rows == k.rows, k.rows == v.rows else {
      throw OperandTypes.Mismatch("q, k and v have \(q.rows), \(k.rows) and \(v.rows) rows")
    }
    let heads = try types.integer("heads", in: headRange)
    let keyHeads = try types.integer("kv_heads", in: headRange)
    let width = try types.integer("head_dim", in: headRange)
    guard heads % keyHeads == 0 else {
      throw OperandTypes.Mismatch("\(heads) heads cannot share \(keyHeads) key and value heads")
    }
    let given = try types.integer("value_dim", in: 0...1 << 16)
    let valueWidth = given == 0 ? width : given
    guard q.columns == heads * width, k.columns == keyHeads * width, v.columns == keyHeads * valueWidth
    else {
      throw OperandTypes.Mismatch(
        "q, k and v have \(q.columns), \(k.columns) and \(v.columns) columns for heads \(heads), kv_heads \(keyHeads), "
          + "head_dim \(width), value_dim \(valueWidth)")
    }
    _ = try types.integer("window", in: 0...TextForm.maximumExtent)
    _ = try types.integer("cache", in: 0...1 << 20)
    if types.has(slopes) {
      try types.vector(slopes, count: heads)
      try types.requireFloat32(slopes)
    }
    if types.has(slopes + 1) { try types.vector(slopes + 1, count: heads) }
    try types.nonNegative("softcap")
    _ = try types.float("scale")
    return [ValueType(.f32, [q.rows, .fixed(heads * valueWidth)])]
  }
}

extension OperandTypes {
  /// How many pairs of a head of `width` columns turn.
  fileprivate func frequencies(_ position: Int, long: Int, width: Int) throws(Mismatch) -> Int {
    try requireFloat32(position)
    let pairs = try constant(position, rank: 1)[0]
    guard pairs >= 1, 2 * pairs <= width else {
      throw Mismatch("\(pairs) frequencies do not fit heads of \(width)")
    }
    if has(long) {
      try requireFloat32(long)
      try vector(long, count: pairs)
    }
    return pairs
  }
}
