import Architectures
import Calibration
import Codecs
import Execution
import Kernels

/// Windows that a model writes itself, to be calibrated on beside those of a text: more of what it will be asked for, at no other
/// source (LLM-QAT, Liu et al. 2023, arXiv 2305.17888; self-calibration, Williams et al. 2024, arXiv 2410.17170).
public struct SelfGeneratedText {
  /// The name in progress reports.
  public static let name = "self-generated text"

  private let model: LanguageModel
  private let threadCount: Int

  /// Makes the model ready to write.
  /// - Throws: `ExecutionError`, `GraphError`, `KernelsError`.
  public init(_ source: LoadedModel, threadCount: Int, kernels: KernelTable) throws {
    model = try LanguageModel(source, options: ExecutionOptions(activations: .float32, kernels: kernels))
    self.threadCount = threadCount
  }

  /// Tokens of a text with which a window of so many begins, a token that begins sequences included: half of them. With fewer
  /// and with more, learned rounding did worse on the smallest model (Sources/Quantization/LearnedRounding/README.md).
  public static func promptLength(of length: Int) -> Int { (length + 1) / 2 }

  /// Continues parts of a text, evenly spread over it, with tokens drawn from what the model predicts, at temperature 1. Where it ends
  /// a text, what followed the part goes on, the beginning after the end: texts stand beside each other as in a corpus, without tokens that say so. The same
  /// windows for any number of threads; kernels of other instruction sets round otherwise, and lead to others.
  ///
  /// - Parameters:
  ///   - count: how many windows to write.
  ///   - text: windows of a text; the new ones are as long as the first. Those among them that the model wrote are not gone on from.
  ///   - progress: called with the part that is done.
  /// - Returns: `text` with the new ones behind it.
  /// - Throws: `ExecutionError`, or what `progress` throws.
  public func windows(
    _ count: Int, after text: CalibrationWindows, progress: (Double) throws -> Void
  ) throws -> CalibrationWindows {
    guard let length = text.windows.first?.count else { return text }
    let begin = model.source.beginOfSequence.map { [$0] } ?? []
    let stream = text.windows.dropLast(text.selfGeneratedCount).flatMap {
      $0.starts(with: begin) ? $0.dropFirst(begin.count) : $0[...]
    }
    let promptLength = Self.promptLength(of: length) - begin.count
    let places = max(stream.count - promptLength, 0)
    let pool = ThreadPool(threadCount: threadCount)
    var own: [[Int32]] = []
    while own.count < count {
      let first = own.count
      own += try pool.map(min(pool.threadCount, count - first)) { offset in
        let start = (first + offset) * places / count
        let (prompt, rest) = (stream[start...].prefix(promptLength), stream[start...].dropFirst(promptLength))
        return try window(
          from: begin + prompt, of: length, text: rest + stream,
          seed: UInt64(text.selfGeneratedCount + first + offset + 1))
      }
      try progress(Double(own.count) / Double(count))
    }
    return CalibrationWindows(
      windows: text.windows + own, firstNumber: text.firstNumber,
      selfGeneratedCount: text.selfGeneratedCount + count)
  }

  /// Tokens of the text that follow where the model ends its own.
  private static let beginningLength = 32

  /// - Parameter text: what goes on where the model ends a text.
  private func window(
    from prompt: [Int32], of length: Int, text: ArraySlice<Int32>, seed: UInt64
  ) throws -> [Int32] {
    let ends = model.source.summary.sizes.eosTokens
    let session = Session(program: model.program, pool: ThreadPool(threadCount: 1, isPinned: false))
    var sampler = Sampler(SamplingOptions(temperature: 1, topK: 0, topP: 1, seed: seed))
    var (window, pending, text) = (prompt, prompt, text)
    while window.count < length {
      let token = try unsafe session.forward(pending) { logits in
        sampler.sample(unsafe Span(_unsafeElements: logits))
      }
      pending = [token]
      if ends.contains(token) {
        let beginning = text.prefix(min(Self.beginningLength, length - window.count))
        text = text.dropFirst(beginning.count)
        pending = Array(beginning)
      }
      window += pending
    }
    return window
  }
}
