import GraphIR
import SafeIO
import TensorCore

/// Why a checkpoint cannot be imported.
public enum ArchitectureError: DiagnosableError, Equatable {
  /// No family reads such a model.
  case unknownModel(String)
  /// A key of the configuration is missing or impossible.
  case configuration(key: String, expected: String, found: String)
  /// A key of the configuration asks for something that the family does not compute.
  case unsupported(key: String, found: String, reason: String)
  /// The checkpoint lacks a tensor.
  case missingTensor(String)
  /// A tensor has another shape than the configuration gives it.
  case tensorShape(String, expected: [Int], found: [Int])
  /// A tensor's elements are not numbers that a weight can have.
  case tensorType(String, encoding: String)
  /// A name that Adze needs for a table of its own is one of the checkpoint's tensors.
  case reservedTensorName(String)
  /// The checkpoint has tensors for more layers than the configuration.
  case extraLayer(String, layerCount: Int)
  /// The graph could not be built; a mistake of Adze.
  case graph(GraphError)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .unknownModel(let found):
      Diagnostic(
        code: "architecture.unknown-model", message: "no importer reads this kind of model",
        expected: "one of " + ModelFamily.all.flatMap(\.modelTypes).joined(separator: ", "), found: found)
    case .configuration(let key, let expected, let found):
      Diagnostic(
        code: "architecture.configuration", message: "the configuration is not usable", subject: key,
        expected: expected, found: found)
    case .unsupported(let key, let found, let reason):
      Diagnostic(code: "architecture.unsupported", message: reason, subject: key, found: found)
    case .missingTensor(let name):
      Diagnostic(
        code: "architecture.missing-tensor", message: "the checkpoint lacks this tensor", subject: name,
        hint: "are all shards there, and does config.json belong to this checkpoint?")
    case .tensorShape(let name, let expected, let found):
      Diagnostic(
        code: "architecture.tensor-shape", message: "the tensor's shape is not what the configuration gives",
        subject: name, expected: "\(expected)", found: "\(found)")
    case .tensorType(let name, let encoding):
      Diagnostic(
        code: "architecture.tensor-type", message: "the tensor's elements cannot be weights", subject: name,
        expected: "a floating-point type", found: encoding)
    case .reservedTensorName(let name):
      Diagnostic(
        code: "architecture.reserved-name",
        message: "the checkpoint has a tensor of a name that Adze makes itself",
        subject: name)
    case .extraLayer(let name, let layerCount):
      Diagnostic(
        code: "architecture.extra-layer", message: "the checkpoint has more layers than the configuration",
        subject: name, expected: "\(layerCount) layers (num_hidden_layers)")
    case .graph(let error):
      Diagnostic(
        code: "architecture.graph", status: .bug, message: "the importer built a graph that is not valid",
        found: error.description)
    }
  }
}
