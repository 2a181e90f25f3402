extension OperationDefinition {
  /// Activations that `linear_activation` knows.
  static let linearActivations = ["silu", "relu", "sigmoid", "gelu", "gelu_tanh", "gelu_sigmoid"]

  /// What passes make of several operations; importers never do.
  static let fused = rows + gates

  private static let rows = [
    OperationDefinition(
      operation: .swiglu, summary: "y = silu(gate) * up, silu rounded to float32 first.",
      operands: [.value("gate"), .value("up")], attributes: [], infer: sameTypes),
    OperationDefinition(
      operation: .geglu, summary: "y = gelu(gate) * up, gelu (as approximate says) rounded to float32 first.",
      operands: [.value("gate"), .value("up")], attributes: [.optional("approximate", .string("none"))]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.choice("approximate", of: ["none", "tanh", "sigmoid"])
      return try sameTypes(types)
    },
    OperationDefinition(
      operation: .addRMSNorm,
      summary: "Two results: sum = a + b, and rms_norm(sum, weight) with the same eps and offset.",
      operands: [.value("a"), .value("b"), .constant("weight")],
      attributes: [.required("eps", .float), .optional("offset", .float(0))]
    ) { (types) throws(OperandTypes.Mismatch) in
      let type = try sameTypes(types)[0]
      try types.vector(2, count: try types.matrix(0).columns)
      try types.nonNegative("eps")
      return [type, type]
    },
    OperationDefinition(
      operation: .addLayerNorm,
      summary: "Two results: sum = a + b, and layer_norm(sum, weight, bias) with the same eps and offset.",
      operands: [.value("a"), .value("b"), .constant("weight"), .optionalConstant("bias")],
      attributes: [.required("eps", .float), .optional("offset", .float(0))]
    ) { (types) throws(OperandTypes.Mismatch) in
      let type = try sameTypes(types)[0]
      let columns = try types.matrix(0).columns
      try types.vector(2, count: columns)
      if types.has(3) { try types.vector(3, count: columns) }
      try types.nonNegative("eps")
      return [type, type]
    },
    OperationDefinition(
      operation: .linearActivation,
      summary: "y = activation(linear(x, weight, bias)), the product rounded to float32 first; activations: "
        + linearActivations.joined(separator: ", ") + ".",
      operands: [.value("x"), .constants("weight"), .constants("bias", optional: true)],
      attributes: [.required("activation", .string)]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.choice("activation", of: linearActivations)
      return try typesOfLinear(types)
    },
  ]

  /// Products of a gate and a factor that `linear_gated` and `expert_gated` know.
  static let products = ["swiglu", "geglu", "geglu_tanh", "geglu_sigmoid", "limited_glu"]

  private static let gates = [
    OperationDefinition(
      operation: .limitedGLU,
      summary: """
        y = g * u + g, g = gelu(min(gate, limit)) with approximate = sigmoid, u = min(max(up, -limit), limit); every step \
        rounded to float32. A gate of minus infinity is the lowest finite number.
        """,
      operands: [.value("gate"), .value("up")], attributes: [.required("limit", .float)]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.nonNegative("limit")
      return try sameTypes(types)
    },
    OperationDefinition(
      operation: .linearGated,
      summary: """
        y = product(gate, up), where the first half of the columns of linear(x, weight, bias), rounded to float32, is the \
        gate and the second half is up; products: \(products.joined(separator: ", ")) (with its limit).
        """,
      operands: [.value("x"), .constants("weight"), .constants("bias", optional: true)],
      attributes: [.required("product", .string), .optional("limit", .float(0))]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.gatedProduct()
      let both = try typesOfLinear(types)[0]
      guard let columns = both.columns, columns % 2 == 0, columns > 0 else {
        throw OperandTypes.Mismatch("\(both.columns ?? 0) rows are not those of a gate and a factor")
      }
      return [ValueType(.f32, [both.dimensions[0], .fixed(columns / 2)])]
    },
    OperationDefinition(
      operation: .expertGated,
      summary: """
        y = product(expert_linear(x, routing, gate), expert_linear(x, routing, up)), each with expert_bias when there are \
        biases, rounded to float32; products as in linear_gated.
        """,
      operands: [
        .value("x"), .value("routing"), .constants("gate"), .constants("up"),
        .constants("gate_bias", optional: true), .constants("up_bias", optional: true),
      ],
      attributes: [.required("chosen", .int), .required("product", .string), .optional("limit", .float(0))]
    ) { (types) throws(OperandTypes.Mismatch) in
      try types.gatedProduct()
      let (gate, up) = (try types.constant(2, rank: 2), try types.constant(3, rank: 2))
      guard gate == up else { throw OperandTypes.Mismatch("gates of \(gate) and factors of \(up)") }
      guard types.has(4) == types.has(5) else { throw OperandTypes.Mismatch("one bias without the other") }
      for position in [4, 5] where types.has(position) { try types.vector(position, count: gate[0]) }
      return try typesOfExperts(types)
    },
  ]
}

extension OperandTypes {
  /// The attributes that say which product a gate belongs to.
  fileprivate func gatedProduct() throws(Mismatch) {
    try choice("product", of: OperationDefinition.products)
    try nonNegative("limit")
  }
}
