extension OperationDefinition {
  /// Activations that `linear_activation` knows.
  static let linearActivations = ["silu", "relu", "sigmoid", "gelu", "gelu_tanh", "gelu_sigmoid"]

  /// What passes make of several operations; importers never do.
  static let fused = [
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
}
