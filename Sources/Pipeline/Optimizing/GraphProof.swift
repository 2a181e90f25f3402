import Architectures
import Codecs
import Execution
import GraphIR
import GraphPasses
import Kernels
import OrderedCollections
import TensorCore

/// Runs graphs on the same numbers and compares what comes out.
///
/// A model's graphs run on the executor in float32 arithmetic, with its weights and tokens drawn from a fixed seed; a graph
/// without weights runs in the interpreter, with weights that follow from their names.
public struct GraphProof: Sendable {
  /// How far the results of two graphs lie apart.
  public struct Difference: Sendable, Equatable {
    /// Whether every output has the same bits; NaN of any kind is one.
    public let isExact: Bool
    /// The largest difference, in standard deviations of the output in which it is.
    public let deviations: Double

    /// Whether a pass kept its promise.
    public func keeps(_ promise: PassPromise) -> Bool {
      promise == .exact ? isExact : deviations <= promise.bound
    }
  }

  /// Tokens that a model is run on.
  public static let tokenCount = 24
  private let subject: OptimizationSubject
  private let pool: ThreadPool

  /// Prepares comparisons.
  /// - Throws: ``PipelineError/unsupportedFormat(path:format:reason:hint:)`` for packed files, whose weights fit one graph only.
  public init(_ subject: OptimizationSubject, pool: ThreadPool) throws(PipelineError) {
    if let model = subject.model { _ = try model.requireCheckpoint() }
    self.subject = subject
    self.pool = pool
  }

  /// The outputs of a graph, row-major.
  /// - Parameter folds: Constants that passes made.
  /// - Throws: `ExecutionError`, `GraphError`.
  public func outputs(of graph: Graph, folds: FoldedConstants = .init()) throws -> [[Float]] {
    guard let model = subject.model, let weights = subject.weights else {
      return try interpreted(graph, folds)
    }
    let program = try Program(graph: graph, options: .reference) { try folds.weight($0, weights) }
    let session = Session(program: program, pool: pool)
    var generator = SplitMix64(seed: 7)
    let limit = program.positionCount.map { min($0, Self.tokenCount) } ?? Self.tokenCount
    let vocabulary = Int32(max(model.summary.sizes.vocabularySize, 1))
    let tokens = (0..<limit).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    return [try unsafe session.forward(tokens, rows: tokens.indices) { unsafe Array($0) }]
  }

  /// How far results lie apart.
  public static func difference(_ found: [[Float]], _ expected: [[Float]]) -> Difference {
    guard found.map(\.count) == expected.map(\.count) else {
      return Difference(isExact: false, deviations: .infinity)
    }
    var isExact = true
    var worst = 0.0
    for (a, b) in zip(found, expected) {
      let mean = b.reduce(0.0) { $0 + Double($1) } / Double(max(b.count, 1))
      let squares = b.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
      let deviation = (squares / Double(max(b.count, 1))).squareRoot()
      for (x, y) in zip(a, b) where x.bitPattern != y.bitPattern && !(x.isNaN && y.isNaN) {
        isExact = false
        let difference = abs(Double(x) - Double(y))
        worst = max(worst, difference == 0 ? 0 : difference.isFinite ? difference / deviation : .infinity)
      }
    }
    return Difference(isExact: isExact, deviations: worst)
  }
}

extension GraphProof {
  private static let rowCount = 8

  private func interpreted(_ graph: Graph, _ folds: FoldedConstants) throws -> [[Float]] {
    var generator = SplitMix64(seed: 7)
    var inputs: [String: Tensor] = [:]
    for input in graph.inputs {
      let (name, type) = (graph.name(of: input), graph.type(of: input))
      let shape = try Shape(type.dimensions.map { $0.extent ?? Self.rowCount })
      if type.element == .f32 {
        inputs[name] = try Tensor(Self.numbers(shape.elementCount, &generator), shape: shape)
      } else {
        let limit = Self.tableRows(graph, input)
        let values = (0..<shape.elementCount).map { index -> Int32 in
          limit.map { Int32.random(in: 0..<Int32(max($0, 1)), using: &generator) } ?? Int32(index)
        }
        inputs[name] = try Tensor(values, shape: shape)
      }
    }
    func constant(_ name: String) throws -> Tensor { try Self.constant(name, in: subject.graph) }
    let results = try Interpreter.run(graph, inputs: inputs) { name in
      try folds.tensor(name, constant: constant) ?? constant(name)
    }
    return try results.map { try $0.floats() }
  }

  /// Rows of the smallest table that an input chooses from; nil when it chooses from none.
  private static func tableRows(_ graph: Graph, _ input: ValueID) -> Int? {
    graph.nodes.lazy.compactMap { node -> Int? in
      guard node.operation == .embedding, node.operands.first?.value == input,
        let rows = node.constantOperands.first.flatMap({ graph.constants[$0]?.dimensions.first })
      else { return nil }
      return rows - ((try? node.integer("offset")) ?? 0)
    }.min()
  }

  /// A weight that follows from its name, so that it is the same in both graphs; matrices keep sums of order one.
  private static func constant(_ name: String, in graph: Graph) throws -> Tensor {
    let shape = try Shape(graph.constants[name]?.dimensions ?? [])
    var generator = SplitMix64(seed: name.utf8.reduce(1) { ($0 &* 31) &+ UInt64($1) })
    let factor = 1 / Float(shape.rank == 2 ? max(shape.columns, 1) : 1).squareRoot()
    return try Tensor(numbers(shape.elementCount, &generator).map { $0 * factor }, shape: shape)
  }

  /// Numbers of mean 0 and variance 1.
  private static func numbers(_ count: Int, _ generator: inout SplitMix64) -> [Float] {
    (0..<count).map { _ in Float((generator.nextUnit() - 0.5) * 12.0.squareRoot()) }
  }
}

extension FoldedConstants {
  /// A weight of the checkpoint, or one that passes made of it.
  /// - Throws: ``PipelineError/weight(_:reason:)`` for a name that nobody knows.
  func weight(_ name: String, _ weights: OrderedDictionary<String, Weight>) throws -> Weight {
    let folded = try tensor(name) { inner in
      let values = try Self.find(inner, weights).decoded()
      let shape = try Self.find(inner, weights).shape
      return try Tensor(values.values, shape: shape)
    }
    if let folded { return .dense(folded) }
    return try Self.find(name, weights)
  }

  private static func find(_ name: String, _ weights: OrderedDictionary<String, Weight>) throws -> Weight {
    guard let weight = weights[name] else {
      throw PipelineError.weight(name, reason: "is not in the checkpoint")
    }
    return weight
  }
}
