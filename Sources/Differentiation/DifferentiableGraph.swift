import GraphIR
import Kernels
import TensorCore

/// A part of a model made ready for reverse-mode differentiation with respect to the weights of its linear layers.
///
/// Source: Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey", section 3.2.
public struct DifferentiableGraph: Sendable {
  /// A linear layer's weight: where its gradient comes from.
  struct WeightUse: Sendable {
    /// Node of the linear layer.
    let node: Int
    /// First of the result's columns that the weight makes.
    let firstColumn: Int
  }

  /// The graph.
  public let graph: Graph
  /// The weights of the linear layers in graph order; each has one place.
  public let weights: [TrainableWeight]
  /// Which weights gradients are wanted for.
  public let trained: Set<String>
  let steps: [any DifferentiableStep]
  /// For each node, whether the gradient of each operand is needed.
  let wanted: [[Bool]]
  let uses: [[WeightUse]]

  /// Prepares a graph.
  /// - Parameters:
  ///   - trained: names of weights that gradients are wanted for.
  ///   - constant: finds a constant's values by name, row-major; those of linear layers' weights become the first values of ``weights``.
  /// - Throws: ``DifferentiationError`` for an operation without a derivative, `GraphError`, and what `constant` throws.
  public init(graph: Graph, trained: Set<String>, constant: (String) throws -> [Float]) throws {
    var steps: [any DifferentiableStep] = []
    let weights = try withoutActuallyEscaping(constant) { constant in
      var builder = StepBuilder(graph: graph, constant: constant)
      for node in graph.nodes { steps.append(try builder.step(node)) }
      return builder.weights
    }
    self.graph = graph
    self.trained = trained
    self.steps = steps
    self.weights = weights
    var uses = [[WeightUse]](repeating: [], count: weights.count)
    var reached: Set<ValueID> = []
    var wanted: [[Bool]] = []
    for (index, node) in graph.nodes.enumerated() {
      wanted.append(node.operands.map { $0.value.map(reached.contains) ?? false })
      var depends = wanted[index].contains(true)
      if let linear = steps[index] as? LinearStep {
        for part in linear.parts {
          uses[part.weight].append(WeightUse(node: index, firstColumn: part.firstColumn))
          if trained.contains(weights[part.weight].name) { depends = true }
        }
      }
      if depends { reached.formUnion(node.results) }
    }
    self.wanted = wanted
    self.uses = uses
  }

  /// Runs the graph over one sequence from position 0.
  /// - Parameters:
  ///   - tokens: as many as there are rows; read by inputs of integer type other than positions.
  ///   - floats: the float inputs by name.
  ///   - keeping: whether what the way back needs is kept.
  /// - Throws: ``DifferentiationError/mismatch(_:expected:found:)``.
  public func run(
    tokens: [Int32], floats: [String: FloatMatrix] = [:], keeping: Bool = true
  ) throws(DifferentiationError) -> Tape {
    let tape = Tape(self, tokens: tokens)
    try tape.forward(floats, keeping: keeping)
    return tape
  }
}
