import OrderedCollections
import TensorCore

/// Computes a graph one node at a time in the plainest way: what each operation means.
///
/// Values are float32; sums (dot products, means, softmax) are accumulated in Double in index order and rounded once, so
/// that a row's result depends on nothing but that row. Slow, and meant for tests and for the definition.
public enum Interpreter {
  /// Runs the graph on whole sequences from position 0.
  ///
  /// - Parameters:
  ///   - graph: a verified graph.
  ///   - inputs: a tensor for each input by name: i32 inputs take any integer type, f32 inputs any with a float value.
  ///   - constants: finds a constant by name, decoded to a dense tensor of the declared shape.
  /// - Returns: a float32 (or int32) tensor for each output.
  /// - Throws: ``GraphError`` when inputs or constants do not fit, and what `constants` throws.
  public static func run(
    _ graph: Graph, inputs: [String: Tensor], constants: (String) throws -> Tensor
  ) throws -> [Tensor] {
    var values: [ValueID: RuntimeValue] = [:]
    var symbols: [String: Int] = [:]
    for input in graph.inputs {
      let name = graph.name(of: input)
      guard let tensor = inputs[name] else {
        throw GraphError.execution(name, reason: "the input is missing")
      }
      values[input] = try RuntimeValue(tensor, type: graph.type(of: input), name: name, symbols: &symbols)
    }
    let dying = graph.valuesDyingAtNodes
    for (index, node) in graph.nodes.enumerated() {
      let results = try compute(node, graph: graph, values: values, constants: constants)
      for (result, value) in zip(node.results, results) { values[result] = value }
      for value in dying[index] { values[value] = nil }
    }
    return try graph.outputs.map { output in
      guard let value = values[output] else {
        throw GraphError.execution(graph.name(of: output), reason: "the output was not computed")
      }
      return try value.tensor()
    }
  }

  private static func compute(
    _ node: Node, graph: Graph, values: [ValueID: RuntimeValue], constants: (String) throws -> Tensor
  ) throws -> [RuntimeValue] {
    let label = node.results.first.map { graph.name(of: $0) } ?? node.operation.rawValue
    guard let semantics = semantics[node.operation] else {
      throw GraphError.node(label, scope: node.scope, reason: "\(node.operation) has no interpreter")
    }
    var operands: [InterpreterCall.Operand] = []
    for operand in node.operands {
      switch operand {
      case .value(let value):
        guard let found = values[value] else {
          throw GraphError.node(label, scope: node.scope, reason: "an operand was not computed")
        }
        operands.append(.value(found))
      case .constant, .concatenation:
        operands.append(.constants(try operand.constants.map { try constant($0, graph: graph, constants) }))
      }
    }
    let results = try semantics(InterpreterCall(node: node, label: label, operands: operands))
    guard results.count == node.results.count else {
      throw GraphError.node(label, scope: node.scope, reason: "the interpreter made \(results.count) results")
    }
    return results
  }

  private static func constant(
    _ name: String, graph: Graph, _ constants: (String) throws -> Tensor
  ) throws -> Tensor {
    guard let type = graph.constants[name] else {
      throw GraphError.execution(name, reason: "the constant is not declared")
    }
    let tensor = try constants(name)
    guard tensor.shape.dimensions == type.dimensions else {
      throw GraphError.execution(
        name, reason: "the constant has shape \(tensor.shape), not \(type.dimensions)")
    }
    return tensor
  }
}
