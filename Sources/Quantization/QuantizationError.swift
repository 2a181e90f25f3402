import TensorCore

/// What can go wrong when values are chosen.
public enum QuantizationError: DiagnosableError {
  /// No method of this name.
  case unknownMethod(String, known: [String])
  /// An option that the method does not have, or a value that it cannot take.
  case invalidOption(method: String, option: String, reason: String)
  /// The method needs statistics that are not there.
  case missingStatistics(layer: String, method: String, needed: String)
  /// The codec cannot be used by this method.
  case unsupportedCodec(method: String, codec: String, reason: String)
  /// Weights or statistics do not fit each other.
  case shapeMismatch(layer: String, expected: String, found: String)
  /// Weights or statistics hold NaN or infinity.
  case nonFinite(layer: String, what: String, index: Int)
  /// A mean square of an input is negative.
  case negativeMeanSquare(layer: String, input: Int)
  /// The calibration data never reached the layer.
  case emptyStatistics(layer: String)
  /// The codec refused the result.
  case codec(layer: String, CodecFailure)

  /// A codec's own diagnostic, kept as a value.
  public struct CodecFailure: Sendable {
    let diagnostic: Diagnostic

    fileprivate func about(_ layer: String) -> Diagnostic {
      var result = diagnostic
      result.subject = result.subject ?? layer
      return result
    }
  }

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .unknownMethod(let name, let known):
      Diagnostic(
        code: "quantization.unknown-method", status: .usage, message: "no method is called '\(name)'",
        hint: "methods: \(known.joined(separator: ", "))")
    case .invalidOption(let method, let option, let reason):
      Diagnostic(
        code: "quantization.option", status: .usage, message: "\(method): \(reason)", subject: option)
    case .missingStatistics(let layer, let method, let needed):
      Diagnostic(
        code: "quantization.missing-statistics", message: "\(method) needs \(needed)", subject: layer,
        hint: "give --corpus FILE, or --statistics from 'adze calibrate --hessian'")
    case .unsupportedCodec(let method, let codec, let reason):
      Diagnostic(
        code: "quantization.codec", status: .usage, message: "\(method) cannot use \(codec): \(reason)")
    case .shapeMismatch(let layer, let expected, let found):
      Diagnostic(
        code: "quantization.shape", message: "statistics do not fit the weight", subject: layer,
        expected: expected,
        found: found)
    case .nonFinite(let layer, let what, let index):
      Diagnostic(
        code: "quantization.non-finite", message: "\(what) is not finite at index \(index)", subject: layer)
    case .negativeMeanSquare(let layer, let input):
      Diagnostic(
        code: "quantization.negative-mean-square", message: "the mean square of input \(input) is negative",
        subject: layer, hint: "the statistics are damaged")
    case .emptyStatistics(let layer):
      Diagnostic(
        code: "quantization.empty-statistics", message: "no calibration token reached the layer",
        subject: layer,
        hint: "the corpus is too short or the layer is never used")
    case .codec(let layer, let failure): failure.about(layer)
    }
  }
}
