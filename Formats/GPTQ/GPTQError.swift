import Codecs
import TensorCore

/// What can be wrong with weights in the GPTQ layout, or keep weights out of it.
public enum GPTQError: DiagnosableError, Equatable {
  /// The quantization configuration is not one that can be read.
  case configuration(key: String, problem: String, found: String?)
  /// A tensor does not fit the others of its module or the configuration.
  case tensor(name: String, problem: String, expected: String?, found: String?)
  /// A form of the layout that is not read.
  case unsupported(form: String, reason: String)
  /// The layout cannot hold these weights.
  case unrepresentable(weight: String, encoding: String, reason: String)
  /// The planes of a module are not right for the codec.
  case codec(module: String, CodecError)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .configuration(let key, let problem, let found):
      Diagnostic(
        code: "gptq.configuration", message: problem, file: "quantization_config", subject: key, found: found)
    case .tensor(let name, let problem, let expected, let found):
      Diagnostic(code: "gptq.tensor", message: problem, subject: name, expected: expected, found: found)
    case .unsupported(let form, let reason):
      Diagnostic(
        code: "gptq.unsupported", message: "this form of GPTQ checkpoints cannot be read: \(reason)",
        subject: form, hint: "the tool that wrote it can write the form 'gptq'")
    case .unrepresentable(let weight, let encoding, let reason):
      Diagnostic(
        code: "gptq.unrepresentable", status: .usage,
        message: "the GPTQ layout cannot hold \(encoding): \(reason)", subject: weight,
        hint: "choose another codec or another container")
    case .codec(let module, let error):
      Diagnostic(
        code: "gptq.planes", message: error.diagnostic.message, subject: module,
        expected: error.diagnostic.expected, found: error.diagnostic.found)
    }
  }

  /// The error for a tensor whose shape or type is wrong in itself.
  init(_ name: String, _ error: TensorCoreError) {
    self = .tensor(
      name: name, problem: error.diagnostic.message, expected: error.diagnostic.expected,
      found: error.diagnostic.found)
  }
}
