import TensorCore

/// What can go wrong while a model reads a corpus.
public enum CalibrationError: DiagnosableError {
  /// The corpus has no text, or too little for one window.
  case corpusTooShort(tokens: Int, needed: Int)
  /// Weights that no token of the corpus reached: their observers never fired.
  case neverReached([String])
  /// A cache of keys and values for which no scales can be chosen.
  case cache(String)
  /// The model made NaN or infinity.
  case nonFinite(layer: String, window: Int)
  /// Statistics that do not belong together.
  case statisticsMismatch(reason: String)
  /// A statistics file that is not one, or is damaged.
  case badStatistics(file: String, reason: String)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .corpusTooShort(let tokens, let needed):
      Diagnostic(
        code: "calibration.corpus-too-short", message: "the corpus is too short",
        expected: "at least \(needed) tokens",
        found: "\(tokens)", hint: "give more text, or fewer or shorter samples")
    case .neverReached(let names):
      Diagnostic(
        code: "calibration.never-reached",
        message:
          "\(names.count) weights saw no calibration token: \(names.prefix(20).joined(separator: ", "))")
    case .cache(let reason): Diagnostic(code: "calibration.cache", message: reason)
    case .nonFinite(let layer, let window):
      Diagnostic(
        code: "calibration.non-finite", message: "inputs are not finite in calibration window \(window)",
        subject: layer)
    case .statisticsMismatch(let reason):
      Diagnostic(code: "calibration.mismatch", message: reason)
    case .badStatistics(let file, let reason):
      Diagnostic(code: "calibration.bad-statistics", message: reason, file: file)
    }
  }
}
