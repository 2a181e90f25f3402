import Codecs
import GraphIR
import Kernels
import OrderedCollections

/// Which kernel the planner chose for projections and tables of one kind, and why.
public struct KernelChoice: Sendable, Equatable {
  /// The operation.
  public let operation: String
  /// Rows and columns of the matrix.
  public let shape: [Int]
  /// How the model stores it; several where parts of a joined matrix differ.
  public let encodings: [String]
  /// The kernel: what it multiplies, and the instruction set.
  public let kernel: String
  /// Why this one.
  public let reason: String
  /// How many steps are like this.
  public internal(set) var count: Int
}

extension Program {
  /// The choices for all matrices, those that are alike once, in the order in which they first run.
  public var kernelChoices: [KernelChoice] {
    var choices: [KernelChoice] = []
    for node in graph.nodes {
      for (operand, isMatrix) in PreparedWeights.parts(of: node) where isMatrix {
        guard let matrix = weights.matrices[PreparedWeights.key(operand)] else { continue }
        let choice = choice(node, operand, matrix)
        let known = choices.firstIndex {
          $0.operation == choice.operation && $0.shape == choice.shape && $0.encodings == choice.encodings
            && $0.kernel == choice.kernel
        }
        if let known { choices[known].count += 1 } else { choices.append(choice) }
      }
    }
    return choices
  }

  private func choice(_ node: Node, _ operand: Operand, _ matrix: PanelMatrix) -> KernelChoice {
    var encodings: [String] = []
    for name in operand.constants {
      guard let encoding = graph.constants[name]?.encoding, !encodings.contains(encoding) else { continue }
      encodings.append(encoding)
    }
    let isTable = node.operation == .embedding
    let key = PreparedWeights.key(operand)
    let scheme = isTable ? .float32 : (activations[key] ?? .float32).scheme
    let isInteger = matrix.encoding.isQuantized && scheme.kind == .int8 && !options.simulatesActivations
    let instructionSet = options.kernels.instructionSet.rawValue
    let kernel =
      isTable
      ? "rows of \(matrix.encoding.rawValue) panels, \(instructionSet)"
      : "\(isInteger ? "int8" : "float32")\(scheme == .float32 ? "" : " (\(scheme))") by \(matrix.encoding.rawValue) panels, \(instructionSet)"
    return KernelChoice(
      operation: node.operation.rawValue, shape: [matrix.rows, matrix.columns], encodings: encodings,
      kernel: kernel,
      reason: reason(
        matrix, encodings, isTable, isInteger,
        isStated: weights.activations[key] != nil && options.activations == nil),
      count: 1)
  }

  private func reason(
    _ matrix: PanelMatrix, _ encodings: [String], _ isTable: Bool, _ isInteger: Bool, isStated: Bool
  ) -> String {
    let set = "\(options.kernels.instructionSet.rawValue) is the table in use"
    let stored = encodings.joined(separator: " and ")
    if isTable { return "single rows are decoded; \(set)" }
    if isStated { return "the model says how inputs are rounded; \(set)" }
    if isInteger {
      return
        "\(stored) is codes in blocks of \(matrix.blockLength), and inputs may be rounded to int8; \(set)"
    }
    if matrix.encoding.isQuantized { return "float32 arithmetic was asked for; \(set)" }
    if matrix.encoding == .compactBF16 {
      return
        "floating-point weights take float32 inputs; their exponents lie near each other in each row; \(set)"
    }
    if [matrix.encoding.rawValue] == encodings { return "floating-point weights take float32 inputs; \(set)" }
    return "\(stored) has no integer panels that hold its values, \(matrix.encoding.rawValue) does; \(set)"
  }
}
