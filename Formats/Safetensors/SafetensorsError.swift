import SafeIO
import TensorCore

/// What can be wrong with a safetensors file or a checkpoint made of them.
public enum SafetensorsError: DiagnosableError, Equatable {
  /// Reading, writing or parsing failed below this format.
  case io(SafeIOError)
  /// The file is of another kind, which is named; no byte of it was interpreted.
  case otherFormat(file: String, kind: String, hint: String)
  /// The first eight bytes announce a header that cannot be.
  case headerLength(file: String, length: UInt64, limit: Int)
  /// The header breaks a rule of the format at a byte offset.
  case header(file: String, offset: Int, problem: String)
  /// The entry of a tensor breaks a rule of the format.
  case tensor(file: String, name: String, problem: String, expected: String?, found: String?)
  /// Two neighbours in the data overlap or leave a hole.
  case neighbours(file: String, first: String, second: String, problem: String)
  /// The index of a sharded checkpoint and its files disagree; the first twenty problems and how many there are.
  case index(file: String, problems: [String], count: Int)
  /// The directory holds no safetensors checkpoint.
  case noCheckpoint(directory: String, hint: String?)
  /// A tensor that was to be written is not what was announced.
  case source(name: String, expected: String, found: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .io(let error): error.diagnostic
    case .otherFormat(let file, let kind, let hint):
      Diagnostic(
        code: "safetensors.other-format", message: "this is \(kind), not a safetensors file", file: file,
        hint: hint)
    case .headerLength(let file, let length, let limit):
      Diagnostic(
        code: "safetensors.header-length", message: "the header length cannot be right", file: file,
        offset: 0,
        expected: "2 to \(limit) bytes", found: "\(length)")
    case .header(let file, let offset, let problem):
      Diagnostic(code: "safetensors.header", message: problem, file: file, offset: offset)
    case .tensor(let file, let name, let problem, let expected, let found):
      Diagnostic(
        code: "safetensors.tensor", message: problem, file: file, subject: name, expected: expected,
        found: found)
    case .neighbours(let file, let first, let second, let problem):
      Diagnostic(
        code: "safetensors.data-ranges", message: "\(problem) '\(Diagnostic.escaped(first))'", file: file,
        subject: second)
    case .index(let file, let problems, let count):
      Diagnostic(
        code: "safetensors.index",
        message: "index and shards disagree in \(count) place\(count == 1 ? "" : "s"): "
          + problems.joined(separator: "; "), file: file)
    case .noCheckpoint(let directory, let hint):
      Diagnostic(
        code: "safetensors.no-checkpoint", status: hint == nil ? .missingInput : .badInput,
        message: "no safetensors checkpoint in this directory", file: directory, hint: hint)
    case .source(let name, let expected, let found):
      Diagnostic(
        code: "safetensors.source", status: .bug, message: "a tensor to write is not what was announced",
        subject: name, expected: expected, found: found)
    }
  }
}
