import TensorCore

/// What can go wrong when values become bits and back.
public enum CodecError: DiagnosableError, Equatable {
  /// No codec of this name.
  case unknownCodec(String, known: [String])
  /// The parameters do not go together.
  case invalidParameters(codec: String, reason: String)
  /// The planes do not have the types and shapes that the codec needs.
  case damagedPlane(codec: String, plane: String, expected: String, found: String)
  /// A value is NaN or infinite.
  case nonFinite(row: Int, column: Int, value: Float)
  /// A scale does not fit its type.
  case scaleOverflow(row: Int, group: Int, scale: Float, type: ElementType)

  /// The error of a matrix that has `rows` more rows above those that were encoded.
  package func movedDown(byRows rows: Int) -> CodecError {
    switch self {
    case .nonFinite(let row, let column, let value):
      .nonFinite(row: row + rows, column: column, value: value)
    case .scaleOverflow(let row, let group, let scale, let type):
      .scaleOverflow(row: row + rows, group: group, scale: scale, type: type)
    case .unknownCodec, .invalidParameters, .damagedPlane: self
    }
  }

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .unknownCodec(let name, let known):
      Diagnostic(
        code: "codec.unknown", status: .usage, message: "no codec is called '\(name)'",
        hint: "codecs: \(known.joined(separator: ", "))")
    case .invalidParameters(let codec, let reason):
      Diagnostic(code: "codec.parameters", status: .usage, message: reason, subject: codec)
    case .damagedPlane(let codec, let plane, let expected, let found):
      Diagnostic(
        code: "codec.plane", message: "plane '\(plane)' of \(codec) does not fit", expected: expected,
        found: found)
    case .nonFinite(let row, let column, let value):
      Diagnostic(
        code: "codec.non-finite", message: "weight in row \(row), column \(column) is not finite",
        found: "\(value)", hint: "the checkpoint is damaged or was saved after training diverged")
    case .scaleOverflow(let row, let group, let scale, let type):
      Diagnostic(
        code: "codec.scale-overflow",
        message: "the scale of row \(row), group \(group) does not fit \(type.name)",
        found: "\(scale)")
    }
  }
}
