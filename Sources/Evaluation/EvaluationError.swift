import TensorCore

/// What can go wrong while a model is measured.
public enum EvaluationError: DiagnosableError, Equatable {
  /// A window of this many tokens has no position to score.
  case windowTooShort(length: Int, minimum: Int)
  /// The text does not fill one window.
  case textTooShort(tokens: Int, windowLength: Int)
  /// A chunk limit or repetition count that is not positive.
  case notPositive(option: String, value: Int)
  /// A token of the text is not one of the model's.
  case tokenOutOfVocabulary(token: Int32, position: Int, vocabularyCount: Int)
  /// Two models that are compared have different vocabularies.
  case vocabulariesDiffer(base: Int, model: Int)
  /// A runner handed out another number of logits than it was asked for.
  case logitCount(expected: Int, found: Int)
  /// A row of logits holds NaN or plus infinity, or nothing but minus infinity.
  case unusableLogits(model: String, window: Int, position: Int)
  /// The base file was made with another text, window length or number of windows.
  case baseDoesNotMatch(what: String, expected: String, found: String)
  /// A base file holds the second half of each window and nothing else.
  case baseNeedsSecondHalf

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .windowTooShort(let length, let minimum):
      return Diagnostic(
        code: "evaluation.window-too-short", status: .usage,
        message: "a window of this length has no position to score",
        expected: "at least \(minimum) tokens", found: "\(length)",
        hint: "choose a longer window with -c")
    case .textTooShort(let tokens, let windowLength):
      return Diagnostic(
        code: "evaluation.text-too-short", message: "the text does not fill one window",
        expected: "at least \(windowLength) tokens", found: "\(tokens)",
        hint: "give a longer text, or a shorter window with -c")
    case .notPositive(let option, let value):
      return Diagnostic(
        code: "evaluation.not-positive", status: .usage, message: "\(option) must be positive",
        expected: "at least 1", found: "\(value)")
    case .tokenOutOfVocabulary(let token, let position, let vocabularyCount):
      return Diagnostic(
        code: "evaluation.token-out-of-vocabulary",
        message: "token \(position) of the text is not in the model's vocabulary",
        expected: "0 ..< \(vocabularyCount)", found: "\(token)",
        hint: "the tokenizer belongs to another model")
    case .vocabulariesDiffer(let base, let model):
      return Diagnostic(
        code: "evaluation.vocabularies-differ",
        message: "models with different vocabularies cannot be compared", expected: "\(base) tokens",
        found: "\(model)")
    case .logitCount(let expected, let found):
      return Diagnostic(
        code: "evaluation.logit-count", status: .bug,
        message: "the model handed out the wrong number of logits",
        expected: "\(expected)", found: "\(found)")
    case .unusableLogits(let model, let window, let position):
      return Diagnostic(
        code: "evaluation.unusable-logits", message: "the logits are not a distribution", subject: model,
        expected: "finite numbers or minus infinity, at least one finite",
        found: "NaN or infinity at position \(position) of window \(window)",
        hint: "the weights may hold values that are not finite")
    case .baseDoesNotMatch(let what, let expected, let found):
      return Diagnostic(
        code: "evaluation.base-does-not-match", message: "the base file was made with another \(what)",
        expected: expected, found: found, hint: "make the base file again with --save-base")
    case .baseNeedsSecondHalf:
      return Diagnostic(
        code: "evaluation.base-needs-second-half", status: .usage,
        message: "a base file holds the second half of each window",
        hint: "leave out --score all")
    }
  }
}
