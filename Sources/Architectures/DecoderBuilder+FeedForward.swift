import GraphIR
import OrderedCollections

extension DecoderBuilder {
  /// The feed-forward of a layer.
  mutating func feedForward(_ x: ValueID, layer: Int) throws(ArchitectureError) -> ValueID {
    let names = decoder.names.feedForward
    switch decoder.feedForwards[layer] {
    case .plain(let inner):
      let up = try linear(
        x, inBlock(layer, names.up), outputs: inner, bias: decoder.feedForwardBias, name: "u\(layer)")
      let product = try activated(up, name: "s\(layer)")
      return try down(product, inBlock(layer, names.down), columns(of: x), name: "d\(layer)")
    case .gated(let inner):
      let (gate, up) = try gateAndUp(x, inner, layer)
      let product = try gated(gate, up, "\(layer)")
      return try down(product, inBlock(layer, names.down), columns(of: x), name: "d\(layer)")
    case .experts(let experts): return try mixture(x, experts, layer)
    }
  }

  private mutating func down(
    _ x: ValueID, _ prefix: String, _ outputs: Int, name: String
  ) throws(ArchitectureError) -> ValueID {
    try linear(x, prefix, outputs: outputs, bias: decoder.feedForwardBias, name: name)
  }

  private mutating func gateAndUp(
    _ x: ValueID, _ inner: Int, _ layer: Int
  ) throws(ArchitectureError) -> (gate: ValueID, up: ValueID) {
    let names = decoder.names.feedForward
    let bias = decoder.feedForwardBias
    guard let fused = names.fused else {
      return (
        try linear(x, inBlock(layer, names.gate), outputs: inner, bias: bias, name: "g\(layer)"),
        try linear(x, inBlock(layer, names.up), outputs: inner, bias: bias, name: "u\(layer)")
      )
    }
    let both = try linear(x, inBlock(layer, fused), outputs: 2 * inner, bias: bias, name: "gu\(layer)")
    return (
      try slice(both, 0, inner, name: "g\(layer)"), try slice(both, inner, inner, name: "u\(layer)")
    )
  }

  private mutating func gated(
    _ gate: ValueID, _ up: ValueID, _ suffix: String
  ) throws(ArchitectureError) -> ValueID {
    let open = try activated(gate, name: "s" + suffix)
    return try add(.multiply, [.value(open), .value(up)], name: "p" + suffix)
  }

  /// A mixture of experts, and the expert that every token goes to.
  private mutating func mixture(
    _ x: ValueID, _ experts: Experts, _ layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let routing = try routing(x, experts, layer)
    let width = columns(of: x)
    let gate = try expertLinear(
      x, routing, experts, experts.gate, [experts.inner, width], layer, name: "eg\(layer)")
    let up = try expertLinear(
      x, routing, experts, experts.up, [experts.inner, width], layer, name: "eu\(layer)")
    let product = try product(gate, up, limit: experts.limit, "e\(layer)")
    let down = try expertLinear(
      product, routing, experts, experts.down, [width, experts.inner], layer, name: "ed\(layer)")
    let sum = try add(
      .expertSum, [.value(down), .value(routing)], ["chosen": .int(experts.chosen)], name: "e\(layer)")
    guard let shared = experts.shared else { return sum }
    let fed = try sharedExpert(x, shared, layer)
    return try add(.add, [.value(sum), .value(fed)], name: "es\(layer)")
  }

  private mutating func routing(
    _ x: ValueID, _ experts: Experts, _ layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let logits = try linear(
      x, inBlock(layer, experts.router), outputs: experts.count, bias: experts.routerHasBias,
      name: "router\(layer)")
    var operands = [Operand.value(logits)]
    if let name = experts.correction { operands.append(try weight(inBlock(layer, name), [experts.count])) }
    return try add(
      .route, operands,
      [
        "chosen": .int(experts.chosen), "scores": .string(experts.scores),
        "normalized": .bool(experts.isNormalized), "factor": .float(experts.factor),
        "groups": .int(experts.groups), "kept_groups": .int(experts.keptGroups),
        "group_top": .int(experts.groupTop),
      ], name: "routing\(layer)")
  }

  private mutating func expertLinear(
    _ x: ValueID, _ routing: ValueID, _ experts: Experts, _ name: String, _ shape: [Int], _ layer: Int,
    name result: String
  ) throws(ArchitectureError) -> ValueID {
    let attributes: OrderedDictionary<String, Attribute> = ["chosen": .int(experts.chosen)]
    let stack = try stack(experts, name + ".weight", shape, layer)
    let product = try add(
      .expertLinear, [.value(x), .value(routing), stack], attributes,
      name: experts.hasBias ? result + "_plain" : result)
    guard experts.hasBias else { return product }
    let biases = try self.stack(experts, name + ".bias", [shape[0]], layer)
    return try add(.expertBias, [.value(product), .value(routing), biases], attributes, name: result)
  }

  /// A tensor of each expert, one after the other.
  private mutating func stack(
    _ experts: Experts, _ name: String, _ shape: [Int], _ layer: Int
  ) throws(ArchitectureError) -> Operand {
    var names: [String] = []
    for expert in 0..<experts.count {
      names += try weight(inBlock(layer, "\(experts.prefix).\(expert).\(name)"), shape).constants
    }
    return names.count == 1 ? .constant(names[0]) : .concatenation(names)
  }

  /// The plain product, or with a limit (1 + up) * gate / (1 + exp(-1.702 gate)), gates limited from above, and up on both
  /// sides.
  ///
  /// Source: the published reference of gpt-oss.
  private mutating func product(
    _ gate: ValueID, _ up: ValueID, limit: Double?, _ suffix: String
  ) throws(ArchitectureError) -> ValueID {
    guard let limit else { return try gated(gate, up, suffix) }
    let lowest = -Double(Float.greatestFiniteMagnitude)
    let below = try add(
      .clamp, [.value(gate)], ["minimum": .float(lowest), "maximum": .float(limit)], name: "gc" + suffix)
    let within = try add(
      .clamp, [.value(up)], ["minimum": .float(-limit), "maximum": .float(limit)], name: "uc" + suffix)
    let open = try add(.gelu, [.value(below)], ["approximate": "sigmoid"], name: "s" + suffix)
    let product = try add(.multiply, [.value(open), .value(within)], name: "su" + suffix)
    return try add(.add, [.value(product), .value(open)], name: "p" + suffix)
  }

  private mutating func sharedExpert(
    _ x: ValueID, _ shared: Experts.Shared, _ layer: Int
  ) throws(ArchitectureError) -> ValueID {
    let prefix = inBlock(layer, shared.prefix)
    let gate = try linear(
      x, prefix + ".gate_proj", outputs: shared.inner, bias: shared.hasBias, name: "g\(layer)")
    let up = try linear(
      x, prefix + ".up_proj", outputs: shared.inner, bias: shared.hasBias, name: "u\(layer)")
    let product = try gated(gate, up, "\(layer)")
    let down = try linear(
      product, prefix + ".down_proj", outputs: columns(of: x), bias: shared.hasBias, name: "d\(layer)")
    guard let name = shared.gate else { return down }
    let logit = try linear(x, inBlock(layer, name), outputs: 1, bias: false, name: "sg\(layer)")
    let factor = try add(.sigmoid, [.value(logit)], name: "sf\(layer)")
    return try add(.scaleRows, [.value(down), .value(factor)], name: "sd\(layer)")
  }
}
