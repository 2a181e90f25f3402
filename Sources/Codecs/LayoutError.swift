import TensorCore

/// What errors of a layout of quantized checkpoints call it.
public protocol NamedLayout {
  /// The name for people, such as `GPTQ`.
  static var layoutName: String { get }
  /// Where the configuration lies that says how weights are quantized.
  static var configurationPlace: String { get }
  /// What to do about a form that is not read; nil when nothing can be.
  static var unsupportedHint: String? { get }
}

extension NamedLayout {
  /// A member of `config.json`.
  public static var configurationPlace: String { "quantization_config" }
  /// Nothing.
  public static var unsupportedHint: String? { nil }
}

/// What can be wrong with weights in a layout, or keep weights out of it.
public enum LayoutError<Layout: NamedLayout>: DiagnosableError, Equatable {
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

  /// The presentation; codes begin with the layout's name in lower case.
  public var diagnostic: Diagnostic {
    let name = Layout.layoutName
    let room = name.lowercased()
    switch self {
    case .configuration(let key, let problem, let found):
      return Diagnostic(
        code: "\(room).configuration", message: problem, file: Layout.configurationPlace, subject: key,
        found: found)
    case .tensor(let name, let problem, let expected, let found):
      return Diagnostic(
        code: "\(room).tensor", message: problem, subject: name, expected: expected, found: found)
    case .unsupported(let form, let reason):
      return Diagnostic(
        code: "\(room).unsupported", message: "this form of \(name) checkpoints cannot be read: \(reason)",
        subject: form, hint: Layout.unsupportedHint)
    case .unrepresentable(let weight, let encoding, let reason):
      return Diagnostic(
        code: "\(room).unrepresentable", status: .usage,
        message: "the \(name) layout cannot hold \(encoding): \(reason)", subject: weight,
        hint: "choose another codec or another container")
    case .codec(let module, let error):
      return Diagnostic(
        code: "\(room).planes", message: error.diagnostic.message, subject: module,
        expected: error.diagnostic.expected, found: error.diagnostic.found)
    }
  }

  /// The error for a tensor whose shape or type is wrong in itself.
  public init(_ name: String, _ error: TensorCoreError) {
    self = .tensor(
      name: name, problem: error.diagnostic.message, expected: error.diagnostic.expected,
      found: error.diagnostic.found)
  }
}
