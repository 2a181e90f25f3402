import Architectures
import Evaluation
import Execution
import Kernels
import Pipeline

/// Times a model on tokens of no meaning, as llama-bench does.
struct ModelBenchmark {
  let model: LanguageModel
  let pool: ThreadPool

  /// One test; see ``SpeedMeasurement``.
  func measure(prompt: Int, generated: Int, depth: Int, repetitions: Int) throws -> SpeedMeasurement {
    let session = Session(program: model.program, pool: pool)
    let vocabulary = Int32(model.source.summary.sizes.vocabularySize)
    func token(_ index: Int) -> Int32 { Int32((index &* 7919 &+ 13) % Int(vocabulary)) }
    if depth > 0 { try unsafe session.forward((0..<depth).map(token)) { _ in } }
    var result = try SpeedMeasurement.measure(
      promptCount: prompt, generatedCount: generated, depth: depth, repetitions: repetitions,
      prepare: {
        try Interruption.check()
        session.truncate(to: depth)
        try session.refill()
      },
      operation: {
        if prompt > 0 { try unsafe session.forward((0..<prompt).map { token(depth + $0) }) { _ in } }
        for index in 0..<generated { try unsafe session.forward([token(depth + prompt + index)]) { _ in } }
      })
    result.cacheByteCount = session.cacheByteCount
    return result
  }
}

extension SpeedMeasurement {
  /// Median of the samples, which a busy moment of the machine does not move.
  var median: Double {
    let sorted = samples.sorted()
    return sorted.isEmpty ? 0 : (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
  }
}
