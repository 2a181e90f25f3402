import ArgumentParser
import Evaluation
import Execution
import LogitBase
import Pipeline
import SafeIO

struct PerplexityCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "perplexity", abstract: "Measure how well a model predicts a text.",
    discussion: """
      The whole text as windows of -c tokens that do not overlap; the model's begin-of-sequence token takes the place of \
      each window's first token; predictions of the second half count, as in llama-perplexity. With --base, the \
      distance of the predictions from those of another model, kept by --save-base.
      """)

  @Argument(help: "The model.") var model: String
  @OptionGroup var text: WindowArguments
  @Option(help: "Compare with the predictions in this file (llama-perplexity's KL base format).") var base:
    String?
  @Option(help: "Keep the predictions in this file.") var saveBase: String?
  @Flag(help: "Print one JSON object.") var json = false
  @OptionGroup var inference: InferenceArguments

  func run() throws {
    let model = try inference.load(model)
    let session = Session(program: model.program, pool: inference.execution.pool())
    let report = try measure(model, session)
    guard !json else {
      var object = report.json.objectValue ?? [:]
      object["cache"] = .string(session.cacheText)
      object["cache_bytes"] = JSONValue(session.cacheByteCount)
      object["cache_evicted"] = JSONValue(session.evictedCount)
      object["cache_windowed_layers"] = JSONValue(session.program.windowedLayerCount)
      if session.outliers.all > 0 {
        object["input_outlier_share"] = .number(Double(session.outliers.found) / Double(session.outliers.all))
      }
      return try Console.print(.object(object))
    }
    try Console.write(
      FactList.render(facts(report) + [("cache", cacheFact(session))] + outlierFacts(session)))
  }

  /// What was multiplied as floats beside codes.
  private func outlierFacts(_ session: Session) -> [(String, String)] {
    let (found, all) = session.outliers
    guard all > 0 else { return [] }
    let share = NumberFormat.significant(Double(found) / Double(all) * 100, 3)
    return [("outliers", "\(share) % of the inputs of linear layers, multiplied as floats")]
  }

  private func cacheFact(_ session: Session) -> String {
    var text = session.cacheText + ", \(NumberFormat.bytes(session.cacheByteCount))"
    if session.program.options.cachePolicy != nil {
      text +=
        ", \(NumberFormat.grouped(Double(session.evictedCount))) entries of a layer forgotten in the last window"
      if session.program.windowedLayerCount > 0 {
        text += "; \(session.program.windowedLayerCount) layers with windows of their own left alone"
      }
    }
    return text
  }

  private func measure(_ model: LanguageModel, _ session: Session) throws -> EvaluationReport {
    let windows = try text.windows(for: model.source)
    let bar = ProgressBar("perplexity")
    let scheduler = RowScheduler(session.pool)
    let update: (EvaluationProgress) throws -> Void = {
      try bar.update(
        Double($0.windowsDone) / Double($0.windowCount),
        "perplexity \(NumberFormat.significant($0.perplexity, 5))")
    }
    let stored: PerplexityEvaluation.Base = try base.map { .stored(try LogitBaseFile(path: $0)) } ?? .none
    let report: EvaluationReport
    if let saveBase {
      report = try BaseFile.write(to: saveBase, windows: windows, vocabularyCount: session.vocabularyCount) {
        append in
        try PerplexityEvaluation.run(
          model: session, windows: windows, base: stored, saveBase: append, scheduler: scheduler,
          progress: update)
      }
    } else {
      report = try PerplexityEvaluation.run(
        model: session, windows: windows, base: stored, scheduler: scheduler, progress: update)
    }
    bar.finish()
    return report
  }

  private func facts(_ report: EvaluationReport) -> [(String, String)] {
    var facts = [
      (
        "perplexity",
        NumberFormat.uncertain(report.perplexity.perplexity, error: report.perplexity.perplexityError)
      ),
      ("predictions", NumberFormat.grouped(Double(report.perplexity.tokens))),
    ]
    if let divergence = report.divergence {
      facts += [
        ("KL divergence, mean", NumberFormat.uncertain(divergence.mean, error: divergence.error)),
        ("KL divergence, median", NumberFormat.significant(divergence.median, 3)),
        ("KL divergence, 99 %", NumberFormat.significant(divergence.p99, 3)),
        ("same top token", NumberFormat.fixed(divergence.top1Agreement * 100, 2) + " %"),
      ]
    }
    return facts
  }
}
