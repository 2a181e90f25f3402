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
    let product = try gated(gate, up, "e\(layer)")
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
      x, inBlock(layer, experts.router), outputs: experts.count, bias: false, name: "router\(layer)")
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
    var names: [String] = []
    for expert in 0..<experts.count {
      let tensor = inBlock(layer, "\(experts.prefix).\(expert).\(name).weight")
      names += try weight(tensor, shape).constants
    }
    let stack = names.count == 1 ? Operand.constant(names[0]) : .concatenation(names)
    return try add(
      .expertLinear, [.value(x), .value(routing), stack], ["chosen": .int(experts.chosen)], name: result)
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
