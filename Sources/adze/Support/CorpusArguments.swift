import ArgumentParser
import Calibration
import Pipeline
import SafeIO
import Tokenizers

/// Options of commands that let a model read calibration text.
struct CorpusArguments: ParsableArguments {
  @Option(name: .long, help: ArgumentHelp("Text file to calibrate on; may be repeated.", valueName: "file"))
  var corpus: [String] = []

  @Option(help: "Number of windows to read.")
  var samples: Int = 128

  @Option(help: "Tokens of a window.")
  var length: Int = 512

  @Option(help: "0: the first windows of the text; any other number: that seed's draw of windows.")
  var seed: UInt64 = 0

  @Option(
    help: ArgumentHelp(
      """
      Windows more of which the model writes the second half itself, after parts of the text: for methods that learn more from \
      more than the text has.
      """, valueName: "windows"))
  var selfGenerated: Int = 0

  @Option(
    help:
      "Tokens that each expert of a layer should see: those with fewer borrow the tokens that the router would send them next, for statistics only."
  )
  var minExpertTokens: Int = 0

  func validate() throws {
    guard (0...1 << 32).contains(minExpertTokens) else {
      throw ValidationError("--min-expert-tokens is not negative.")
    }
    guard (1...1_000_000).contains(samples) else { throw ValidationError("--samples is 1 to 1000000.") }
    guard (0...1_000_000).contains(selfGenerated) else {
      throw ValidationError("--self-generated is 0 to 1000000.")
    }
    guard selfGenerated == 0 || !corpus.isEmpty else {
      throw ValidationError("--self-generated goes on from a text: give --corpus.")
    }
    guard (2...1_000_000).contains(length) else { throw ValidationError("--length is 2 to 1000000.") }
  }

  /// The windows of the corpus, tokenized by the model's tokenizer, and those that the model writes itself.
  func windows(for model: LoadedModel, _ execution: ExecutionArguments) throws -> CalibrationWindows {
    let text = try textWindows(for: model)
    guard selfGenerated > 0 else { return text }
    let bar = ProgressBar(SelfGeneratedText.name)
    defer { Console.finishProgress() }
    return try SelfGeneratedText(
      model, threadCount: execution.threadCount, kernels: execution.kernels()
    ).windows(selfGenerated, after: text) { try bar.update($0) }
  }

  /// The windows of the corpus alone.
  func textWindows(for model: LoadedModel) throws -> CalibrationWindows {
    let tokens = try TextFile.tokens(corpus, model: model, addSpecialTokens: false)
    let windows = try CalibrationWindows(
      tokens: tokens, count: samples, length: length, beginOfSequence: model.beginOfSequence, seed: seed)
    if windows.windows.count < samples {
      Console.warn("the corpus has \(windows.windows.count) windows of \(length) tokens, not \(samples)")
    }
    return windows
  }
}

/// Text files as tokens.
enum TextFile {
  /// Tokens of the files, one after another, each as the tokenizer encodes it.
  static func tokens(_ paths: [String], model: LoadedModel, addSpecialTokens: Bool) throws -> [Int32] {
    let tokenizer = try model.requireTokenizer()
    var tokens: [Int32] = []
    for path in paths {
      let bytes = try FileReading.readAll(path, limit: Limits.standard.maxDocumentBytes)
      tokens += try tokenizer.encode(bytes, addSpecialTokens: addSpecialTokens, parseSpecialTokens: false)
    }
    return tokens
  }
}
