/// The work of one window: running models on it and scoring its rows.
struct WindowTask {
  let windows: EvaluationWindows
  let window: Int
  let scheduler: RowScheduler

  /// Logits of the scored positions of one model, valid while `body` runs.
  /// - Throws: `logitCount` when they were never or wrongly handed out, and what the model and `body` throw.
  func logits(of model: any LanguageModelRunner, _ body: (LogitBlock) throws -> Void) throws {
    let scored = windows.scored
    var isDone = false
    try unsafe model.evaluate(tokens: windows.input(window), scored: scored) { values in
      let block = try unsafe LogitBlock(
        values, rowCount: scored.count, columnCount: model.vocabularyCount)
      isDone = true
      try body(block)
    }
    guard isDone else {
      throw EvaluationError.logitCount(expected: scored.count * model.vocabularyCount, found: 0)
    }
  }

  /// Outcomes without a base.
  func outcomes(_ logits: LogitBlock) -> [PredictionOutcome] {
    let targets = Array(windows.targets(window))
    return scheduler.map(rowCount: logits.rowCount, initial: .empty) { row in
      unsafe PredictionOutcome(logits: logits.row(row), target: Int(targets[row]))
    }
  }

  /// Outcomes against another model's logits.
  func outcomes(_ logits: LogitBlock, base: LogitBlock) -> [PredictionOutcome] {
    let targets = Array(windows.targets(window))
    return scheduler.map(rowCount: logits.rowCount, initial: .empty) { row in
      unsafe PredictionOutcome(
        logits: logits.row(row), baseLogits: base.row(row), target: Int(targets[row]))
    }
  }

  /// Outcomes against log-probabilities that were kept; these are decoded on the calling thread, a row at a
  /// time.
  /// - Throws: What reading the base throws.
  func outcomes(_ logits: LogitBlock, stored: any BaseDistribution) throws -> [PredictionOutcome] {
    let targets = Array(windows.targets(window))
    let columns = logits.columnCount
    var decoded: [Float] = []
    decoded.reserveCapacity(logits.rowCount * columns)
    var row = [Float](repeating: 0, count: columns)
    for index in 0..<logits.rowCount {
      try stored.readLogProbabilities(window: window, scoredIndex: index, into: &row)
      decoded += row
    }
    return try unsafe decoded.withUnsafeBufferPointer { buffer in
      let base = try unsafe LogitBlock(buffer, rowCount: logits.rowCount, columnCount: columns)
      return scheduler.map(rowCount: logits.rowCount, initial: .empty) { row in
        unsafe PredictionOutcome(
          logits: logits.row(row), baseLogProbabilities: base.row(row), target: Int(targets[row]))
      }
    }
  }
}

extension PredictionOutcome {
  /// Stands in a result array until the row is done.
  static let empty = PredictionOutcome(loss: .nan)

  private init(loss: Double) { self.loss = loss }
}
