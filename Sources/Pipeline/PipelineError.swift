import Codecs
import TensorCore

/// What can go wrong between the stages.
public enum PipelineError: DiagnosableError {
  /// Nothing lies at this path.
  case missing(path: String)
  /// No format recognises what lies at this path.
  case unrecognised(path: String, found: String)
  /// The format is known, but this command cannot use it.
  case unsupportedFormat(path: String, format: String, reason: String, hint: String?)
  /// The model has no tokenizer, and text has to be read or written.
  case missingTokenizer(path: String)
  /// A pattern is no regular expression.
  case badPattern(String, reason: String)
  /// A pattern matches no weight.
  case patternMatchesNothing(String, option: String)
  /// No weight is left to quantize.
  case nothingToQuantize
  /// Learned rounding was asked for without windows to run through the model.
  case learningNeedsWindows
  /// A weight cannot be quantized as asked.
  case weight(String, reason: String)
  /// A codec cannot hold the values of a weight.
  case encoding(weight: String, CodecError)
  /// Too many layers fell back.
  case tooManyFallbacks(count: Int, total: Int, allowedShare: Double, layers: [String])
  /// The output would overwrite the input.
  case outputIsInput(path: String)
  /// The plan needs more memory than it may use.
  case memoryLimit(needed: Int, allowed: Int)
  /// A packed file whose parts contradict each other.
  case badPackedModel(path: String, section: String, reason: String)
  /// Statistics that were made with another model.
  case foreignStatistics(path: String, expected: String, found: String)
  /// A journal of other work: its model, recipe or corpus is another one.
  case foreignJournal(path: String, key: String, expected: String, found: String)
  /// A container cannot hold what is to be converted.
  case refusedConversion(container: String, weight: String, reason: String, count: Int, total: Int)
  /// A written model is not what it was to be.
  case proof(path: String, weight: String, expected: String, found: String)
  /// A pass that left a graph which is not valid, or other results than it promises.
  case failedPass(String, problem: String, reproducer: String)
  /// A recipe that cannot be understood.
  case recipe(path: String, key: String, problem: String, hint: String?)
  /// An option that makes no sense here.
  case usage(String, hint: String?)

  /// The presentation.
  public var diagnostic: Diagnostic {
    switch self {
    case .missing(let path):
      Diagnostic(
        code: "model.missing", status: .missingInput, message: "no such file or directory", file: path)
    case .unrecognised(let path, let found):
      Diagnostic(
        code: "model.unrecognised", message: "no known model format", file: path, found: found,
        hint:
          "MODEL is a Hugging Face directory, a .safetensors file beside its config.json, a .adze, .gguf or llama2.c .bin file"
      )
    case .unsupportedFormat(let path, let format, let reason, let hint):
      Diagnostic(code: "model.unsupported", message: "\(format): \(reason)", file: path, hint: hint)
    case .missingTokenizer(let path):
      Diagnostic(
        code: "model.missing-tokenizer", message: "the model has no tokenizer", file: path,
        hint: "put tokenizer.json beside the weights (llama2.c: tokenizer.bin)")
    case .badPattern(let pattern, let reason):
      Diagnostic(
        code: "pattern.invalid", status: .usage, message: "no regular expression: \(reason)", subject: pattern
      )
    case .patternMatchesNothing(let pattern, let option):
      Diagnostic(
        code: "pattern.no-match", status: .usage, message: "\(option) matches no weight", subject: pattern,
        hint: "adze inspect MODEL --tensors lists the names")
    case .learningNeedsWindows:
      Diagnostic(
        code: "pipeline.learning-needs-windows", status: .usage,
        message: "learned-rounding runs windows of text through the model", hint: "give --corpus FILE")
    case .nothingToQuantize:
      Diagnostic(code: "quantize.nothing", status: .usage, message: "no weight is left to quantize")
    case .weight(let name, let reason):
      Diagnostic(code: "quantize.weight", message: reason, subject: name)
    case .encoding(let weight, let error): Self.naming(weight, error)
    case .tooManyFallbacks(let count, let total, let share, let layers):
      Diagnostic(
        code: "quantize.fallbacks",
        message:
          "\(count) of \(total) layers fell back to rounding: \(layers.prefix(20).joined(separator: ", "))",
        expected: "at most \(share * 100) %",
        hint: "more calibration data or more damping; --max-fallback 1 accepts it")
    case .outputIsInput(let path):
      Diagnostic(code: "output.is-input", status: .usage, message: "the output is the input", file: path)
    case .memoryLimit(let needed, let allowed):
      Diagnostic(
        code: "limit.memory", status: .limit, message: "the plan needs more memory than it may use",
        expected: "at most \(allowed) bytes", found: "\(needed) bytes",
        hint: "fewer --samples or a shorter --length need less, or raise --max-memory")
    case .badPackedModel(let path, let section, let reason):
      Diagnostic(code: "packed.contents", message: reason, file: path, subject: section)
    case .foreignStatistics(let path, let expected, let found):
      Diagnostic(
        code: "statistics.foreign", message: "the statistics were made with another model", file: path,
        expected: expected, found: found)
    case .foreignJournal(let path, let key, let expected, let found):
      Diagnostic(
        code: "journal.foreign", message: "the journal is that of other work", file: path, subject: key,
        expected: expected, found: found, hint: "remove it, or repeat the command that it was made by")
    case .refusedConversion(let container, let weight, let reason, let count, let total):
      Diagnostic(
        code: "convert.refused", message: "\(reason) (\(count) of \(total) weights are refused)",
        subject: weight, hint: "--plan lists them; \(container) is the container")
    case .proof(let path, let weight, let expected, let found):
      Diagnostic(
        code: "convert.proof", status: .bug, message: "the written weight is not that of the source",
        file: path,
        subject: weight, expected: expected, found: found)
    case .failedPass(let pass, let problem, let reproducer):
      Diagnostic(
        code: "optimize.pass", status: .bug, message: "the pass failed: \(problem)", file: reproducer,
        subject: pass, hint: "the graph before the pass is in that file; adze optimize reads it")
    case .recipe(let path, let key, let problem, let hint):
      Diagnostic(
        code: "recipe", status: .usage, message: problem, file: path, subject: key.isEmpty ? nil : key,
        hint: hint)
    case .usage(let message, let hint):
      Diagnostic(code: "usage", status: .usage, message: message, hint: hint)
    }
  }

  private static func naming(_ weight: String, _ error: CodecError) -> Diagnostic {
    var diagnostic = error.diagnostic
    diagnostic.subject = weight
    return diagnostic
  }
}
