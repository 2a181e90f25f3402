import ArgumentParser
import Evaluation
import Pipeline

/// Options of commands that measure a model on a text.
struct WindowArguments: ParsableArguments {
  @Option(help: "The text.") var corpus: String

  @Option(
    name: [.customShort("c"), .customLong("context")],
    help: ArgumentHelp("Tokens of a window.", valueName: "tokens"))
  var window: Int = 512

  @Option(help: "Measure the first windows only.") var chunks: Int?

  @Option(help: "Which predictions count: second-half or all.") var score: ScoredPart = .secondHalf

  @Flag(
    name: .customLong("no-special"),
    help: """
      Cut the text without the special tokens that the tokenizer puts before it; windows then begin one token later \
      than llama-perplexity's.
      """)
  var noSpecial = false

  /// The windows of the text, as this model's tokenizer sees it.
  func windows(for model: LoadedModel) throws -> EvaluationWindows {
    try EvaluationWindows(
      tokens: TextFile.tokens([corpus], model: model, addSpecialTokens: !noSpecial), length: window,
      beginOfSequence: model.beginOfSequence, scoredPart: score, limit: chunks)
  }
}

extension ScoredPart: ExpressibleByArgument {}
