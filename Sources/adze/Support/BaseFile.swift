import Evaluation
import LogitBase
import SafeIO

/// Opens the base to compare with and the base to write, around a measurement.
enum BaseFile {
  static func measuring<Result>(
    windows: EvaluationWindows, vocabularyCount: Int, base: String?, saveTo: String?,
    _ body: (PerplexityEvaluation.Base, (any LogitSink)?) throws -> Result
  ) throws -> Result {
    let stored: PerplexityEvaluation.Base = try base.map { .stored(try StoredLogitBase(path: $0)) } ?? .none
    guard let saveTo else { return try body(stored, nil) }
    return try LogitBaseSink.write(to: saveTo, windows: windows, vocabularyCount: vocabularyCount) { sink in
      try body(stored, sink)
    }
  }
}
