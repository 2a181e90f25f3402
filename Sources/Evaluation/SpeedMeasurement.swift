import SafeIO

/// How many tokens a second one test processed, in the terms of llama-bench.
public struct SpeedMeasurement: Sendable, Equatable {
  /// Prompt tokens processed together; 0 in a test of generation.
  public var promptCount: Int
  /// Tokens generated one after another; 0 in a test of the prompt.
  public var generatedCount: Int
  /// Tokens that were in the cache before.
  public var depth: Int
  /// Seconds of each repetition.
  public var seconds: [Double]
  /// Bytes of cached keys and values at the end.
  public var cacheByteCount = 0

  /// A measurement from times taken elsewhere.
  public init(promptCount: Int, generatedCount: Int, depth: Int = 0, seconds: [Double]) {
    self.promptCount = promptCount
    self.generatedCount = generatedCount
    self.depth = depth
    self.seconds = seconds
  }

  /// Times an operation a number of times, after one repetition that is not counted.
  ///
  /// - Parameters:
  ///   - promptCount: Prompt tokens that the operation processes.
  ///   - generatedCount: Tokens that it generates.
  ///   - depth: Tokens in the cache before.
  ///   - repetitions: Times that count.
  ///   - warmUp: Whether to run it once beforehand.
  ///   - prepare: Called before each repetition, outside the time, for example to empty the cache.
  ///   - operation: What is timed.
  /// - Throws: `notPositive` without repetitions, and what the closures throw.
  public static func measure(
    promptCount: Int, generatedCount: Int, depth: Int = 0, repetitions: Int = 5, warmUp: Bool = true,
    prepare: () throws -> Void = {}, operation: () throws -> Void
  ) throws -> SpeedMeasurement {
    guard repetitions > 0 else {
      throw EvaluationError.notPositive(option: "the number of repetitions", value: repetitions)
    }
    var seconds: [Double] = []
    for repetition in (warmUp ? -1 : 0)..<repetitions {
      try prepare()
      let duration = try ContinuousClock().measure { try operation() }
      if repetition >= 0 { seconds.append(duration / .seconds(1)) }
    }
    return SpeedMeasurement(
      promptCount: promptCount, generatedCount: generatedCount, depth: depth, seconds: seconds)
  }

  /// Tokens a second of each repetition.
  public var samples: [Double] { seconds.map { Double(promptCount + generatedCount) / $0 } }
  /// Mean of the samples; 0 without samples.
  public var mean: Double { samples.isEmpty ? 0 : samples.reduce(0, +) / Double(samples.count) }
  /// Standard deviation of the samples (of a sample, that is over count - 1); 0 with fewer than two.
  public var standardDeviation: Double {
    guard samples.count > 1 else { return 0 }
    let mean = mean
    let squares = samples.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    return (squares / Double(samples.count - 1)).squareRoot()
  }

  /// The name of the test, as in `pp512`, `tg128` or `tg128 @ d1024`.
  public var testName: String {
    let name =
      switch (promptCount, generatedCount) {
      case (_, 0): "pp\(promptCount)"
      case (0, _): "tg\(generatedCount)"
      default: "pp\(promptCount)+tg\(generatedCount)"
      }
    return depth > 0 ? "\(name) @ d\(depth)" : name
  }

  /// `n_prompt`, `n_gen`, `n_depth`, `avg_ts`, `stddev_ts`, `samples_ts`, `cache_bytes`.
  public var json: JSONObject {
    [
      "n_prompt": JSONValue(promptCount), "n_gen": JSONValue(generatedCount), "n_depth": JSONValue(depth),
      "avg_ts": .number(mean), "stddev_ts": .number(standardDeviation),
      "samples_ts": .array(samples.map { .number($0) }),
      "cache_bytes": JSONValue(cacheByteCount),
    ]
  }

  /// A table of measurements of one model, one row a test.
  public static func table(
    model: String, fileByteCount: Int, threadCount: Int, _ measurements: [SpeedMeasurement]
  ) -> TextTable {
    var table = TextTable(["model", "size", "threads", "test", "t/s"], alignments: [.leading])
    for measurement in measurements {
      table.addRow([
        model, NumberFormat.bytes(fileByteCount), "\(threadCount)", measurement.testName,
        NumberFormat.fixed(measurement.mean, 2) + " ± "
          + NumberFormat.fixed(measurement.standardDeviation, 2),
      ])
    }
    return table
  }
}
