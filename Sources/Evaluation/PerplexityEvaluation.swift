import SafeIO

/// How far an evaluation has come.
public struct EvaluationProgress: Sendable, Equatable {
  /// Windows done.
  public var windowsDone: Int
  /// Windows in all.
  public var windowCount: Int
  /// Perplexity over the windows done; in a comparison, the base's.
  public var perplexity: Double
}

/// What measuring one model gave.
public struct EvaluationReport: Sendable, Equatable {
  /// Perplexity of the model.
  public var perplexity: PerplexityResult
  /// Distance from the base, when there was one.
  public var divergence: DivergenceResult?
  /// Perplexity of the base over the same predictions, when there was one.
  public var basePerplexity: PerplexityResult?

  /// Creates a report.
  public init(
    perplexity: PerplexityResult, divergence: DivergenceResult? = nil, basePerplexity: PerplexityResult? = nil
  ) {
    self.perplexity = perplexity
    self.divergence = divergence
    self.basePerplexity = basePerplexity
  }

  /// The keys of the perplexity, then those of the divergence.
  public var json: JSONValue {
    var object = perplexity.json
    for (key, value) in divergence?.json ?? [:] { object[key] = value }
    return .object(object)
  }
}

/// Perplexity of one model, and its divergence from a base.
public enum PerplexityEvaluation {
  /// What a model is compared with.
  public enum Base {
    /// Nothing.
    case none
    /// Log-probabilities from an earlier run.
    case stored(any BaseDistribution)
    /// Another model, run on each window beside the first; no logits are kept.
    case model(any LanguageModelRunner)
  }

  /// Measures a model on all windows.
  ///
  /// - Parameters:
  ///   - model: The model.
  ///   - windows: The text.
  ///   - base: What to compare with.
  ///   - scheduler: Spreads the rows of a window over threads; the result does not depend on it.
  ///   - progress: Called after each window; may throw to stop.
  /// - Throws: `EvaluationError`, and what the model, the base or `progress` throw.
  public static func run(
    model: any LanguageModelRunner, windows: EvaluationWindows, base: Base = .none,
    scheduler: RowScheduler = .serial, progress: (EvaluationProgress) throws -> Void = { _ in }
  ) throws -> EvaluationReport {
    try run(model, windows, base, scheduler, visit: { _ in }, progress)
  }

  /// Measures a model on all windows and hands out its logits on the way.
  ///
  /// - Parameters:
  ///   - model: The model.
  ///   - windows: The text; the second half of each window must be scored.
  ///   - base: What to compare with.
  ///   - saveBase: Called with the logits of each scored position, in order, as `LogitBaseWriter` wants them.
  ///   - scheduler: Spreads the rows of a window over threads; the result does not depend on it.
  ///   - progress: Called after each window; may throw to stop.
  /// - Throws: `EvaluationError`, and what the model, the base, `saveBase` or `progress` throw.
  public static func run(
    model: any LanguageModelRunner, windows: EvaluationWindows, base: Base = .none,
    saveBase: ([Float]) throws -> Void, scheduler: RowScheduler = .serial,
    progress: (EvaluationProgress) throws -> Void = { _ in }
  ) throws -> EvaluationReport {
    guard windows.scoredPart == .secondHalf else { throw EvaluationError.baseNeedsSecondHalf }
    func save(_ logits: LogitBlock) throws {
      for index in 0..<logits.rowCount { try saveBase(unsafe Array(logits.row(index))) }
    }
    return try run(model, windows, base, scheduler, visit: save, progress)
  }

  private static func run(
    _ model: any LanguageModelRunner, _ windows: EvaluationWindows, _ base: Base, _ scheduler: RowScheduler,
    visit: (LogitBlock) throws -> Void, _ progress: (EvaluationProgress) throws -> Void
  ) throws -> EvaluationReport {
    try windows.validate(vocabularyCount: model.vocabularyCount)
    try check(base, windows: windows, vocabularyCount: model.vocabularyCount)
    var statistics = ModelStatistics(name: "the model")
    for window in 0..<windows.count {
      let task = WindowTask(windows: windows, window: window, scheduler: scheduler)
      try task.logits(of: model) { logits in
        try visit(logits)
        switch base {
        case .none: try statistics.add(task.outcomes(logits), in: task)
        case .stored(let stored): try statistics.add(task.outcomes(logits, stored: stored), in: task)
        case .model(let other):
          try task.logits(of: other) { baseLogits in
            try statistics.add(task.outcomes(logits, base: baseLogits), in: task)
          }
        }
      }
      try progress(
        EvaluationProgress(
          windowsDone: window + 1, windowCount: windows.count, perplexity: statistics.losses.result.perplexity
        ))
    }
    if case .none = base { return statistics.reportWithoutBase }
    return statistics.report
  }

  private static func check(_ base: Base, windows: EvaluationWindows, vocabularyCount: Int) throws {
    let baseCount: Int
    switch base {
    case .none: return
    case .model(let other): baseCount = other.vocabularyCount
    case .stored(let stored):
      try windows.validate(base: stored)
      baseCount = stored.vocabularyCount
    }
    guard baseCount == vocabularyCount else {
      throw EvaluationError.vocabulariesDiffer(base: baseCount, model: vocabularyCount)
    }
  }
}

/// Running figures of one model.
struct ModelStatistics {
  var name: String
  var losses = PerplexityAccumulator()
  var baseLosses = PerplexityAccumulator()
  var divergences = DivergenceAccumulator()

  init(name: String) { self.name = name }

  /// Adds the outcomes of a window, in order.
  /// - Throws: `unusableLogits` at the first row that is not a distribution.
  mutating func add(_ outcomes: [PredictionOutcome], in task: WindowTask) throws(EvaluationError) {
    for (index, outcome) in outcomes.enumerated() {
      guard outcome.isUsable else {
        throw .unusableLogits(
          model: outcome.loss.isNaN ? name : "the base", window: task.window,
          position: task.windows.scored.lowerBound + index)
      }
      losses.add(outcome.loss)
      baseLosses.add(outcome.baseLoss)
      divergences.add(divergence: outcome.divergence, agrees: outcome.agrees)
    }
  }

  var reportWithoutBase: EvaluationReport { EvaluationReport(perplexity: losses.result) }

  var report: EvaluationReport {
    EvaluationReport(
      perplexity: losses.result, divergence: divergences.result, basePerplexity: baseLosses.result)
  }
}
