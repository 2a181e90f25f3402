import Codecs
import GraphIR
import Kernels
import OrderedCollections
import TensorCore

/// The constants of a graph in the layouts that kernels read: panels for matrices, float32 for vectors.
public struct PreparedWeights: Sendable {
  /// Matrices by ``key(_:)`` of the operand.
  public var matrices: OrderedDictionary<String, PanelMatrix>
  /// Vectors by ``key(_:)`` of the operand.
  public var vectors: OrderedDictionary<String, [Float]>
  /// How the inputs of matrices are quantized, by ``key(_:)`` of the matrix; matrices that are not there say nothing of it.
  public var activations: OrderedDictionary<String, InputQuantization> = [:]

  /// How keys and values are cached; nil when the model says nothing of it.
  public var cache: CacheQuantization?

  /// Adopts constants that are prepared already.
  public init(
    matrices: OrderedDictionary<String, PanelMatrix> = [:], vectors: OrderedDictionary<String, [Float]> = [:]
  ) {
    self.matrices = matrices
    self.vectors = vectors
  }

  /// What an operand's constant is called: its name, or the names joined by `+`.
  public static func key(_ operand: Operand) -> String { operand.constants.joined(separator: "+") }

  /// Packs every constant that the graph uses; `weight` is asked once for each name and operand.
  /// - Parameters:
  ///   - matrices: what becomes of matrices.
  ///   - activations: how the inputs of matrices are quantized, by names of weights.
  ///   - arena: where matrices lie among others; nil for memory of their own.
  ///   - compacts: whether matrices of bf16 become compact where that takes clearly fewer bytes.
  /// - Throws: ``ExecutionError``, or what `weight` throws.
  public init(
    graph: Graph, weight: (String) throws -> Weight, matrices packing: MatrixPacking = .panels,
    activations: OrderedDictionary<String, InputQuantization> = [:], arena: WeightArena? = nil,
    compacts: Bool = false
  ) throws {
    self.init()
    try add(
      graph: graph, weight: weight, matrices: packing, activations: activations, arena: arena,
      compacts: compacts)
  }

  /// Packs the constants of one more graph; operands that are there already are shared.
  /// - Throws: ``ExecutionError``, or what `weight` throws.
  public mutating func add(
    graph: Graph, weight: (String) throws -> Weight, matrices packing: MatrixPacking = .panels,
    activations: OrderedDictionary<String, InputQuantization> = [:], arena: WeightArena? = nil,
    compacts: Bool = false
  ) throws {
    for (key, names) in PreparedWeights.linearOperands(of: graph) {
      self.activations[key] = try PreparedWeights.input(of: names, activations)
    }
    for node in graph.nodes {
      for (operand, isMatrix) in PreparedWeights.parts(of: node) {
        let key = PreparedWeights.key(operand)
        guard packing != .omitted || !isMatrix else { continue }
        guard isMatrix ? matrices[key] == nil : vectors[key] == nil else { continue }
        let parts = try operand.constants.map { name in
          try PreparedWeights.checked(try weight(name), name: name, type: graph.constants[name])
        }
        if isMatrix {
          let matrix = try PanelMatrix(packing: parts, in: arena, compacts: compacts)
          let isGoodEnough = matrix.isExact || packing == .panels
          matrices[key] = isGoodEnough ? matrix : try PreparedWeights.exactPanels(parts, arena)
        } else {
          vectors[key] = try parts.flatMap { try $0.decoded().values }
        }
      }
    }
  }

  /// What becomes of the matrices of a graph.
  public enum MatrixPacking: Sendable {
    /// They are left out.
    case omitted
    /// Panels; scales of a wider type, and values of codecs that have no integer form, are rounded to f16 where that is
    /// a relative error of at most 2^-11 (of at most 2^-15 of the largest value for small ones).
    case panels
    /// Panels that hold every value exactly: float32 where f16 scales would not.
    case exactPanels
  }

  private static func exactPanels(_ parts: [Weight], _ arena: WeightArena?) throws -> PanelMatrix {
    let dense = try parts.map { part in
      let values = try part.decoded()
      return Weight.dense(try Tensor(values.values, shape: Shape([values.rows, values.columns])))
    }
    return try PanelMatrix(packing: dense, in: arena)
  }

  /// Names of the constants of every matrix operand, by key, in graph order.
  public static func matrixOperands(of graph: Graph) -> OrderedDictionary<String, [String]> {
    var result: OrderedDictionary<String, [String]> = [:]
    for node in graph.nodes {
      for (operand, isMatrix) in parts(of: node) where isMatrix { result[key(operand)] = operand.constants }
    }
    return result
  }

  /// Names of the constants of every matrix operand that inputs are multiplied with, by key, in graph order.
  static func linearOperands(of graph: Graph) -> OrderedDictionary<String, [String]> {
    var result: OrderedDictionary<String, [String]> = [:]
    for node in graph.nodes where node.operation != .embedding {
      for (operand, isMatrix) in parts(of: node) where isMatrix { result[key(operand)] = operand.constants }
    }
    return result
  }

  /// Whether weights that became one operand want their common input quantized in different ways, so that they cannot be one.
  public static func disagreements(
    in graph: Graph, _ activations: OrderedDictionary<String, InputQuantization>
  ) -> [String] {
    linearOperands(of: graph).compactMap { key, names in
      Set(names.map { activations[$0]?.scheme }).count > 1 ? key : nil
    }
  }

  private static func input(
    of names: [String], _ activations: OrderedDictionary<String, InputQuantization>
  ) throws(ExecutionError) -> InputQuantization? {
    let parts = names.compactMap { activations[$0] }
    if parts.isEmpty { return nil }
    guard parts.count == names.count, let joined = InputQuantization.joined(parts) else {
      throw .constant(
        names.joined(separator: "+"), expected: "one way to quantize their common input",
        found: names.map { "\(activations[$0]?.scheme.description ?? "none")" }.joined(separator: ", "))
    }
    return joined
  }

  /// The constant operands of a node, and which are matrices that rows are multiplied with or taken from. The matrices of
  /// experts are prepared one by one, gates and factors of one together.
  static func parts(of node: Node) -> [(operand: Operand, isMatrix: Bool)] {
    if node.operation == .expertGated, node.operands.count > 3 {
      let pairs = zip(node.operands[2].constants, node.operands[3].constants)
      return pairs.map { (.concatenation([$0, $1]), true) } + node.operands.dropFirst(4).map { ($0, false) }
    }
    return plainParts(of: node)
  }

  private static func plainParts(of node: Node) -> [(operand: Operand, isMatrix: Bool)] {
    node.operands.enumerated().flatMap { position, operand -> [(operand: Operand, isMatrix: Bool)] in
      if operand.value != nil { return [] }
      if node.operation == .expertLinear { return operand.constants.map { (.constant($0), true) } }
      return [(operand, position == 1 && takesMatrix.contains(node.operation))]
    }
  }

  private static let takesMatrix: Set<Operation> = [.linear, .embedding, .linearActivation, .linearGated]

  private static func checked(_ weight: Weight, name: String, type: ConstantType?) throws -> Weight {
    guard let type, weight.shape.dimensions == type.dimensions else {
      throw ExecutionError.constant(
        name, expected: type.map { "\($0.dimensions)" } ?? "no such constant", found: "\(weight.shape)")
    }
    return weight
  }

  /// Bytes of all constants.
  public var byteCount: Int {
    matrices.values.reduce(0) { $0 + $1.byteCount } + vectors.values.reduce(0) { $0 + $1.count * 4 }
  }
}
