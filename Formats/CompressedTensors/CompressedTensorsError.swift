import Codecs
import TensorCore

/// What can be wrong with weights in the compressed-tensors layout, or keep weights out of it.
public enum CompressedTensorsError: DiagnosableError, Equatable {
  /// The quantization configuration is not one that can be read.
  case configuration(key: String, problem: String, found: String?)
  /// A tensor does not fit the others of its module or the configuration.
  case tensor(name: String, problem: String, expected: String?, found: String?)
  /// A form of the layout that is not read yet.
  case unsupported(module: String, form: String)
  /// The layout cannot hold these weights.
  case unrepresentable(weight: String, encoding: String, reason: String)
  /// The planes of a module are not right for the codec.
  case codec(module: String, CodecError)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .configuration(let key, let problem, let found):
      Diagnostic(
        code: "compressed-tensors.configuration", message: problem, file: "quantization_config", subject: key,
        found: found)
    case .tensor(let name, let problem, let expected, let found):
      Diagnostic(
        code: "compressed-tensors.tensor", message: problem, subject: name, expected: expected, found: found)
    case .unsupported(let module, let form):
      Diagnostic(code: "compressed-tensors.unsupported", message: "\(form) cannot be read", subject: module)
    case .unrepresentable(let weight, let encoding, let reason):
      Diagnostic(
        code: "compressed-tensors.unrepresentable", status: .usage,
        message: "the compressed-tensors layout cannot hold \(encoding): \(reason)", subject: weight,
        hint: "choose another codec or another container")
    case .codec(let module, let error):
      Diagnostic(
        code: "compressed-tensors.planes", message: error.diagnostic.message, subject: module,
        expected: error.diagnostic.expected, found: error.diagnostic.found)
    }
  }
}
