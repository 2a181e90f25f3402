import GraphIR
import OrderedCollections
import TensorCore

/// Makes the steps of a graph, reading attributes and constants.
struct StepBuilder {
  let graph: Graph
  let constant: (String) throws -> [Float]
  private(set) var weights: [TrainableWeight] = []
  private var places: [String: Int] = [:]

  init(graph: Graph, constant: @escaping (String) throws -> [Float]) {
    self.graph = graph
    self.constant = constant
  }

  mutating func step(_ node: Node) throws -> any DifferentiableStep {
    switch node.operation {
    case .linear: try linear(node)
    case .embedding: try embedding(node)
    case .slice: SliceStep(start: try node.integer("start"), length: try node.integer("length"))
    case .rmsNorm, .layerNorm: try normalization(node, weight: 1, heads: node.integer("heads"))
    case .addRMSNorm, .addLayerNorm:
      AddNormalizationStep(normalization: try normalization(node, weight: 2, heads: 1))
    case .rope: try rope(node)
    case .attention: try attention(node)
    case .joinHeads:
      JoinHeadsStep(heads: try node.integer("heads"), isShared: try node.bool("shared"))
    default: try elementwise(node)
    }
  }

  private func elementwise(_ node: Node) throws -> any DifferentiableStep {
    switch node.operation {
    case .add: return AddStep()
    case .multiply: return MultiplyStep()
    case .scale: return ScaleStep(factor: Float(try node.float("factor")))
    case .scaleRows: return ScaleRowsStep()
    case .hadamard: return HadamardStep(block: try node.integer("block"))
    case .silu: return SiluStep(isGated: false)
    case .swiglu: return SiluStep(isGated: true)
    case .relu: return FunctionStep.relu
    case .sigmoid: return FunctionStep.sigmoid
    case .softcap: return FunctionStep.softcap(try node.float("cap"))
    case .clamp:
      let (low, high) = (Float(try node.float("minimum")), Float(try node.float("maximum")))
      return FunctionStep.clamp(Double(low), Double(high))
    case .gelu: return try gelu(node)
    case .geglu: return GatedFunctionStep(function: try gelu(node))
    default:
      throw DifferentiationError.unsupported(
        operation: node.operation.rawValue, scope: node.scope,
        reason: "learned rounding does not know its derivative; use another method for this model")
    }
  }

  private func gelu(_ node: Node) throws -> FunctionStep {
    switch try node.string("approximate") {
    case "tanh": FunctionStep.geluTanh
    case "sigmoid": FunctionStep.geluSigmoid
    default: FunctionStep.gelu
    }
  }

  /// The values of a constant operand, those of a concatenation one after the other; empty when there is none.
  private func vector(_ node: Node, _ position: Int) throws -> [Float] {
    guard position < node.operands.count else { return [] }
    return try node.operands[position].constants.flatMap { try constant($0) }
  }

  private mutating func linear(_ node: Node) throws -> any DifferentiableStep {
    var parts: [LinearStep.Part] = []
    var columns = 0
    for name in node.operands[1].constants {
      let place = try weight(named: name)
      parts.append(LinearStep.Part(weight: place, firstColumn: columns))
      columns += weights[place].rows
    }
    return LinearStep(parts: parts, columns: columns, bias: try vector(node, 2))
  }

  private mutating func weight(named name: String) throws -> Int {
    if let place = places[name] { return place }
    guard let shape = graph.constants[name]?.dimensions, shape.count == 2 else {
      throw DifferentiationError.mismatch(name, expected: "a matrix", found: "no such constant")
    }
    let values = try constant(name)
    guard values.count == shape[0] * shape[1] else {
      throw DifferentiationError.mismatch(
        name, expected: "\(shape[0]) x \(shape[1]) values", found: "\(values.count)")
    }
    let weight = TrainableWeight(name: name, rows: shape[0], columns: shape[1])
    weight.assign(values)
    places[name] = weights.count
    weights.append(weight)
    return weights.count - 1
  }

  private func embedding(_ node: Node) throws -> any DifferentiableStep {
    let name = node.operands[1].constants.first ?? ""
    return EmbeddingStep(
      table: try vector(node, 1), columns: graph.constants[name]?.dimensions.last ?? 0,
      offset: try node.integer("offset"),
      readsPositions: node.operands[0].value.map { graph.name(of: $0) == "positions" } ?? false)
  }

  /// The step of a norm whose gains are operand number `weight`; shifts follow it, if there are any.
  private func normalization(_ node: Node, weight: Int, heads: Int) throws -> NormalizationStep {
    let offset = Float(try node.float("offset"))
    return NormalizationStep(
      isCentered: node.operation == .layerNorm || node.operation == .addLayerNorm,
      gains: try vector(node, weight).map { offset + $0 }, shifts: try vector(node, weight + 1),
      epsilon: try node.float("eps"), heads: heads)
  }

  private func rope(_ node: Node) throws -> any DifferentiableStep {
    RotaryStep(
      heads: try node.integer("heads"), width: try node.integer("head_dim"),
      isInterleaved: try node.bool("interleaved"), magnitude: try node.float("magnitude"),
      plainFrequencies: try vector(node, 2), longFrequencies: try vector(node, 3),
      context: try node.integer("context"), growth: try node.float("growth"), theta: try node.float("theta"))
  }

  private func attention(_ node: Node) throws -> any DifferentiableStep {
    let width = try node.integer("head_dim")
    let valueWidth = try node.integer("value_dim")
    return AttentionStep(
      heads: try node.integer("heads"), keyHeads: try node.integer("kv_heads"), width: width,
      valueWidth: valueWidth == 0 ? width : valueWidth, scale: Float(try node.float("scale")),
      isCausal: try node.bool("causal"), window: try node.integer("window"),
      cap: Float(try node.float("softcap")), slopes: try vector(node, 3), sinks: try vector(node, 4))
  }
}
