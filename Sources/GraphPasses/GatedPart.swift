import GraphIR
import OrderedCollections

/// A product of a gate and a factor, as passes find it.
struct GatedPart {
  /// What the fused operations call it.
  let product: String
  /// The limit of a limited one.
  let limit: Attribute?
  let gate: ValueID
  let up: ValueID

  /// Nil for other operations.
  init?(_ node: Node) {
    switch node.operation {
    case .swiglu: product = "swiglu"
    case .geglu:
      let kind = (try? node.string("approximate")) ?? "none"
      product = kind == "none" ? "geglu" : "geglu_" + kind
    case .limitedGLU: product = "limited_glu"
    default: return nil
    }
    guard node.operands.count == 2, let gate = node.operands[0].value, let up = node.operands[1].value else {
      return nil
    }
    limit = node.attributes["limit"]
    (self.gate, self.up) = (gate, up)
  }

  /// The attributes that say it.
  var attributes: OrderedDictionary<String, Attribute> {
    var result: OrderedDictionary<String, Attribute> = ["product": .string(product)]
    if let limit, limit != .float(0) { result["limit"] = limit }
    return result
  }
}
