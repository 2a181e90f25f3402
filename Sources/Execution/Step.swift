import Codecs
import GraphIR
import Kernels
import OrderedCollections

/// One operation with everything looked up: what the session's loop runs.
struct Step {
  enum Kind {
    case embedding(PanelMatrix, tokens: Int, offset: Int)
    case linear(PanelMatrix, bias: [Float]?, then: KernelTable.Activation?, InputQuantization)
    case linearGated(PanelMatrix, bias: [Float]?, KernelTable.GatedProduct, InputQuantization)
    case rmsNorm(weight: [Float], epsilon: Float, heads: Int)
    case layerNorm(weight: [Float], bias: [Float]?, epsilon: Float, heads: Int)
    case addRMSNorm(weight: [Float], epsilon: Float)
    case addLayerNorm(weight: [Float], bias: [Float]?, epsilon: Float)
    case rope(RopeParameters)
    case attention(AttentionParameters)
    case add
    case multiply
    case scale(Float)
    case silu
    case gelu(KernelTable.GELU)
    case relu
    case sigmoid
    case clamp(Float, Float)
    case softcap(Float)
    case hadamard(block: Int)
    case gated(KernelTable.GatedProduct)
    case scaleRows
    case joinHeads(heads: Int, isShared: Bool)
    case route(RoutingOptions)
    case expertLinear([PanelMatrix], chosen: Int, [InputQuantization])
    case expertGated(
      [PanelMatrix], biases: [[Float]]?, chosen: Int, KernelTable.GatedProduct, [InputQuantization])
    case expertBias([Float], chosen: Int)
    case expertSum(chosen: Int)
    /// A slice or an input that is an output of the graph; other slices are views and need no step.
    case copy
  }

  struct RopeParameters {
    let heads: Int
    let headDimension: Int
    let isInterleaved: Bool
    /// Number of the program's rotary table.
    let table: Int
  }

  /// Cosines and sines that every layer with the same frequencies shares; filled once a run.
  struct RotaryTableParameters: Equatable {
    let inverseFrequencies: [Float]
    let magnitude: Float
    /// Frequencies of sequences longer than `context`; nil for the same.
    let longFrequencies: [Float]?
    /// Length from which on frequencies are others; 0 for never.
    let context: Int
    /// How they slow down beyond the context; 0 for not at all.
    let growth: Double
    let theta: Double
    /// Number of the graph's input that holds the positions.
    let positions: Int

    /// The frequencies for a sequence of this length.
    func frequencies(sequenceLength: Int) -> [Float] {
      guard context > 0, sequenceLength > context else { return inverseFrequencies }
      if let longFrequencies { return longFrequencies }
      guard growth > 0 else { return inverseFrequencies }
      return RotaryGrowth.frequencies(
        count: inverseFrequencies.count, theta: theta, growth: growth, context: context,
        length: sequenceLength)
    }
  }

  struct AttentionParameters {
    let heads: Int
    let keyValueHeads: Int
    let headDimension: Int
    let valueDimension: Int
    let scale: Float
    let window: Int
    let softcap: Float
    let cache: Int
    let slopes: [Float]?
    let sinks: [Float]?
    /// How it turns queries and keys; nil when they are turned before.
    let rotary: RopeParameters?
  }

  /// What a step makes of its rows for linear layers.
  struct Rounding {
    /// Number of the session's codes; nil for FP8, whose values take the place of the row.
    let slot: Int?
    let input: InputQuantization
    let blockLength: Int
  }

  let kind: Kind
  let inputs: [MemoryPlan.Location]
  let outputs: [MemoryPlan.Location]
  /// Whether rows do not depend on each other from here to the end, so that only the rows asked for are computed.
  var isAfterLastAttention = false
  /// Whether this is the last attention, which appends all keys and values and attends for the rows asked for alone.
  var isLastAttention = false
  /// What it makes of its last output.
  var rounding: Rounding?
  /// Number of the codes that it takes instead of its input.
  var roundedInput: Int?
  /// Whether its input has been rounded to FP8 by what made it.
  var readsRounded = false
}

/// Turns the nodes of a graph into steps.
struct StepBuilder {
  let graph: Graph
  let plan: MemoryPlan
  let weights: PreparedWeights
  private let activations: [String: InputQuantization]
  private(set) var rotaryTables: [Step.RotaryTableParameters] = []

  init(
    graph: Graph, plan: MemoryPlan, weights: PreparedWeights, activations: [String: InputQuantization]
  ) {
    self.activations = activations
    self.graph = graph
    self.plan = plan
    self.weights = weights
  }

  mutating func step(_ node: Node) throws -> Step? {
    if node.operation == .slice, let result = node.results.first, !graph.outputs.contains(result) {
      return nil
    }
    var inputs = node.valueOperands.compactMap { plan.locations[$0] }
    if node.operation == .slice, !inputs.isEmpty {
      inputs[0].column += try node.integer("start")
      inputs[0].columns = try node.integer("length")
    }
    let outputs = node.results.compactMap { plan.locations[$0] }
    return Step(kind: try kind(node), inputs: inputs, outputs: outputs)
  }

  private mutating func kind(_ node: Node) throws -> Step.Kind {
    switch node.operation {
    case .embedding:
      return .embedding(
        try matrix(node), tokens: try inputNumber(node, 0), offset: try node.integer("offset"))
    case .linear:
      return .linear(
        try matrix(node), bias: node.operands.count > 2 ? try vector(node, 2) : nil, then: nil,
        input(node.operands[1]))
    case .linearActivation:
      return .linear(
        try matrix(node), bias: node.operands.count > 2 ? try vector(node, 2) : nil,
        then: try activation(node), input(node.operands[1]))
    case .linearGated:
      return .linearGated(
        try matrix(node), bias: node.operands.count > 2 ? try vector(node, 2) : nil, try product(node),
        input(node.operands[1]))
    case .expertGated: return try gatedExperts(node)
    case .limitedGLU: return .gated(.limited(Float(try node.float("limit"))))
    case .rmsNorm:
      return .rmsNorm(
        weight: try gains(node, 1), epsilon: Float(try node.float("eps")), heads: try node.integer("heads"))
    case .addRMSNorm: return .addRMSNorm(weight: try gains(node, 2), epsilon: Float(try node.float("eps")))
    case .addLayerNorm:
      return .addLayerNorm(
        weight: try gains(node, 2), bias: node.operands.count > 3 ? try vector(node, 3) : nil,
        epsilon: Float(try node.float("eps")))
    case .layerNorm:
      return .layerNorm(
        weight: try gains(node, 1), bias: node.operands.count > 2 ? try vector(node, 2) : nil,
        epsilon: Float(try node.float("eps")), heads: try node.integer("heads"))
    case .rope: return .rope(try rope(node, by: 1, heads: "heads"))
    case .attention: return .attention(try attention(node, slopes: 3, rotary: nil))
    case .rotaryAttention:
      let rotary = try rope(node, by: 3, heads: "kv_heads")
      return .attention(try attention(node, slopes: 6, rotary: rotary))
    case .add: return .add
    case .multiply: return .multiply
    case .scale: return .scale(Float(try node.float("factor")))
    case .silu: return .silu
    case .gelu: return .gelu(.init(rawValue: try node.string("approximate")) ?? .none)
    case .geglu: return .gated(.geglu(.init(rawValue: try node.string("approximate")) ?? .none))
    case .relu: return .relu
    case .sigmoid: return .sigmoid
    case .clamp: return .clamp(Float(try node.float("minimum")), Float(try node.float("maximum")))
    case .scaleRows: return .scaleRows
    case .joinHeads:
      return .joinHeads(heads: try node.integer("heads"), isShared: try node.bool("shared"))
    case .route: return .route(try routing(node))
    case .expertLinear:
      return .expertLinear(
        try experts(node, node.operands[2].constants.map { .constant($0) }),
        chosen: try node.integer("chosen"), node.operands[2].constants.map { input(.constant($0)) })
    case .expertBias: return .expertBias(try vector(node, 2), chosen: try node.integer("chosen"))
    case .expertSum: return .expertSum(chosen: try node.integer("chosen"))
    case .softcap: return .softcap(Float(try node.float("cap")))
    case .hadamard: return .hadamard(block: try node.integer("block"))
    case .swiglu: return .gated(.swiglu)
    case .slice: return .copy
    default:
      throw ExecutionError.unsupported(
        operation: node.operation.rawValue, scope: node.scope, reason: "the executor has no step for it")
    }
  }

  private func activation(_ node: Node) throws -> KernelTable.Activation {
    let name = try node.string("activation")
    switch name {
    case "silu": return .silu
    case "relu": return .relu
    case "sigmoid": return .sigmoid
    case "gelu": return .gelu(.none)
    case "gelu_tanh": return .gelu(.tanh)
    case "gelu_sigmoid": return .gelu(.sigmoid)
    default:
      throw ExecutionError.unsupported(
        operation: node.operation.rawValue, scope: node.scope, reason: "there is no activation '\(name)'")
    }
  }

  private func product(_ node: Node) throws -> KernelTable.GatedProduct {
    let name = try node.string("product")
    switch name {
    case "swiglu": return .swiglu
    case "geglu": return .geglu(.none)
    case "geglu_tanh": return .geglu(.tanh)
    case "geglu_sigmoid": return .geglu(.sigmoid)
    case "limited_glu": return .limited(Float(try node.float("limit")))
    default:
      throw ExecutionError.unsupported(
        operation: node.operation.rawValue, scope: node.scope, reason: "there is no product '\(name)'")
    }
  }

  /// Rotation by the operand at a position, behind which the frequencies are.
  private mutating func rope(_ node: Node, by position: Int, heads: String) throws -> Step.RopeParameters {
    let context = try node.integer("context")
    let growth = try node.float("growth")
    let hasLong = context > 0 && growth == 0 && node.operands.count > position + 2
    let parameters = Step.RotaryTableParameters(
      inverseFrequencies: try vector(node, position + 1), magnitude: Float(try node.float("magnitude")),
      longFrequencies: hasLong ? try vector(node, position + 2) : nil,
      context: context, growth: growth,
      theta: try node.float("theta"), positions: try inputNumber(node, position))
    let table = rotaryTables.firstIndex(of: parameters) ?? rotaryTables.count
    if table == rotaryTables.count { rotaryTables.append(parameters) }
    return Step.RopeParameters(
      heads: try node.integer(heads), headDimension: try node.integer("head_dim"),
      isInterleaved: try node.bool("interleaved"), table: table)
  }

  /// - Parameter position: where the slopes are among the operands, before the sinks.
  private func attention(
    _ node: Node, slopes position: Int, rotary: Step.RopeParameters?
  ) throws -> Step.AttentionParameters {
    guard try node.bool("causal") else {
      throw ExecutionError.unsupported(operation: "attention", scope: node.scope, reason: "it is not causal")
    }
    let width = try node.integer("head_dim")
    let valueWidth = try node.integer("value_dim")
    let slopes = node.operands.count > position ? try vector(node, position) : nil
    return Step.AttentionParameters(
      heads: try node.integer("heads"), keyValueHeads: try node.integer("kv_heads"),
      headDimension: width, valueDimension: valueWidth == 0 ? width : valueWidth,
      scale: Float(try node.float("scale")),
      window: try node.integer("window"), softcap: Float(try node.float("softcap")),
      cache: try node.integer("cache"), slopes: slopes?.allSatisfy { $0 == 0 } ?? true ? nil : slopes,
      sinks: node.operands.count > position + 1 ? try vector(node, position + 1) : nil, rotary: rotary)
  }

  private func routing(_ node: Node) throws -> RoutingOptions {
    RoutingOptions(
      chosen: try node.integer("chosen"), isSigmoid: try node.string("scores") == "sigmoid",
      bias: node.operands.count > 1 ? try vector(node, 1) : [],
      isNormalized: try node.bool("normalized"), factor: try node.float("factor"),
      groups: try node.integer("groups"), keptGroups: try node.integer("kept_groups"),
      groupTop: try node.integer("group_top"))
  }

  /// The matrix of each expert; a stack is one operand of the graph and many matrices here.
  private func experts(_ node: Node, _ operands: [Operand]) throws -> [PanelMatrix] {
    let routing = node.operands[1].value.flatMap { graph.type(of: $0).columns }
    guard operands.count == routing else {
      throw ExecutionError.unsupported(
        operation: node.operation.rawValue, scope: node.scope,
        reason: "experts must be constants of their own")
    }
    let experts = try operands.map { try matrix($0) }
    guard experts.allSatisfy({ $0.rows == experts[0].rows }) else {
      throw ExecutionError.unsupported(
        operation: node.operation.rawValue, scope: node.scope, reason: "experts of different sizes")
    }
    return experts
  }

  private func gatedExperts(_ node: Node) throws -> Step.Kind {
    let operands = PreparedWeights.parts(of: node).filter(\.isMatrix).map(\.operand)
    let experts = try experts(node, operands)
    var biases: [[Float]]?
    if node.operands.count > 5 {
      let (gates, ups) = (try vector(node, 4), try vector(node, 5))
      let width = gates.count / experts.count
      biases = experts.indices.map { expert in
        Array(gates[expert * width..<(expert + 1) * width] + ups[expert * width..<(expert + 1) * width])
      }
    }
    return .expertGated(
      experts, biases: biases, chosen: try node.integer("chosen"), try product(node), operands.map(input))
  }

  /// How the input of a matrix is quantized.
  private func input(_ operand: Operand) -> InputQuantization {
    activations[PreparedWeights.key(operand)] ?? .float32
  }

  private func matrix(_ node: Node) throws -> PanelMatrix { try matrix(node.operands[1]) }

  private func matrix(_ operand: Operand) throws -> PanelMatrix {
    let key = PreparedWeights.key(operand)
    let dimensions = operand.constants.map { graph.constants[$0]?.dimensions ?? [] }
    let (rows, columns) = (dimensions.reduce(0) { $0 + ($1.first ?? 0) }, dimensions.first?.last ?? 0)
    guard let matrix = weights.matrices[key] else {
      throw ExecutionError.constant(key, expected: "a prepared matrix", found: "nothing")
    }
    guard rows > 0, columns > 0, matrix.rows == rows, matrix.columns == columns else {
      throw ExecutionError.constant(
        key, expected: "[\(rows), \(columns)], not empty", found: "[\(matrix.rows), \(matrix.columns)]")
    }
    return matrix
  }

  private func vector(_ node: Node, _ position: Int) throws -> [Float] {
    let key = PreparedWeights.key(node.operands[position])
    guard let vector = weights.vectors[key] else {
      throw ExecutionError.constant(key, expected: "a prepared vector", found: "nothing")
    }
    let count = node.operands[position].constants.reduce(0) {
      $0 + (graph.constants[$1]?.dimensions.reduce(1, *) ?? 0)
    }
    guard vector.count == count else {
      throw ExecutionError.constant(key, expected: "\(count) elements", found: "\(vector.count)")
    }
    return vector
  }

  /// Gains of a norm with the offset that belongs to them.
  private func gains(_ node: Node, _ position: Int) throws -> [Float] {
    let offset = Float(try node.float("offset"))
    return try vector(node, position).map { offset + $0 }
  }

  private func inputNumber(_ node: Node, _ position: Int) throws -> Int {
    guard let value = node.operands[position].value, let number = graph.inputs.firstIndex(of: value) else {
      throw ExecutionError.unsupported(
        operation: node.operation.rawValue, scope: node.scope, reason: "integers must be inputs of the graph")
    }
    return number
  }
}
