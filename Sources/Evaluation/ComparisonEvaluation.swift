/// Several models measured against a base, window by window in lockstep, so that no logits need to be kept.
public enum ComparisonEvaluation {
  /// A model and what it is called in errors.
  public struct Candidate {
    /// Name in errors.
    public var name: String
    /// The model.
    public var runner: any LanguageModelRunner

    /// Creates a candidate.
    public init(name: String, runner: any LanguageModelRunner) {
      self.name = name
      self.runner = runner
    }
  }

  /// What a comparison gave.
  public struct Result: Sendable, Equatable {
    /// Perplexity of the base.
    public var base: PerplexityResult
    /// One report a model, in the order given.
    public var models: [EvaluationReport]
  }

  /// Measures the base and all models on all windows; memory holds the logits of two models for one window.
  ///
  /// - Parameters:
  ///   - base: What the models are compared with.
  ///   - models: The models; may be empty.
  ///   - windows: The text.
  ///   - scheduler: Spreads the rows of a window over threads; the result does not depend on it.
  ///   - progress: Called after each window; may throw to stop.
  /// - Throws: `EvaluationError`, and what a model or `progress` throws.
  public static func run(
    base: Candidate, models: [Candidate], windows: EvaluationWindows, scheduler: RowScheduler = .serial,
    progress: (EvaluationProgress) throws -> Void = { _ in }
  ) throws -> Result {
    let vocabularyCount = base.runner.vocabularyCount
    try windows.validate(vocabularyCount: vocabularyCount)
    for model in models where model.runner.vocabularyCount != vocabularyCount {
      throw EvaluationError.vocabulariesDiffer(base: vocabularyCount, model: model.runner.vocabularyCount)
    }
    var baseStatistics = ModelStatistics(name: base.name)
    var statistics = models.map { ModelStatistics(name: $0.name) }
    for window in 0..<windows.count {
      let task = WindowTask(windows: windows, window: window, scheduler: scheduler)
      try task.logits(of: base.runner) { baseLogits in
        try baseStatistics.add(task.outcomes(baseLogits), in: task)
        for (index, model) in models.enumerated() {
          try task.logits(of: model.runner) { logits in
            try statistics[index].add(task.outcomes(logits, base: baseLogits), in: task)
          }
        }
      }
      try progress(
        EvaluationProgress(
          windowsDone: window + 1, windowCount: windows.count,
          perplexity: baseStatistics.losses.result.perplexity))
    }
    return Result(base: baseStatistics.losses.result, models: statistics.map(\.report))
  }
}
