import Calibration
import Codecs
import Execution
import Kernels
import Synchronization

/// Windows that a model writes itself, to be calibrated on beside those of a text: more of what it will be asked for, at no other
/// source (LLM-QAT, Liu et al. 2023, arXiv 2305.17888; self-calibration, Williams et al. 2024, arXiv 2410.17170).
public struct SelfCalibration {
  /// Tokens of a window of the text that a window of the model's own goes on from.
  public static let promptLength = 32

  private let model: LanguageModel
  private let threadCount: Int

  /// Makes the model ready to write.
  /// - Throws: `ExecutionError`, `GraphError`, `KernelsError`.
  public init(_ source: LoadedModel, threadCount: Int, kernels: KernelTable) throws {
    model = try LanguageModel(source, options: ExecutionOptions(activations: .float32, kernels: kernels))
    self.threadCount = threadCount
  }

  /// Continues the beginnings of windows, in their order and from the first again where more are wanted, with tokens drawn from what the
  /// model predicts, at temperature 1. The same windows for any number of threads; kernels of other instruction sets round otherwise,
  /// and lead to others.
  ///
  /// - Parameters:
  ///   - count: how many windows to write.
  ///   - text: windows of a text; the new ones are as long as each.
  ///   - progress: called from any thread with the part that is done.
  /// - Returns: `text` with the new ones behind it.
  /// - Throws: `ExecutionError`, or what `progress` throws.
  public func windows(
    _ count: Int, after text: CalibrationWindows, progress: @Sendable (Double) throws -> Void
  ) throws -> CalibrationWindows {
    guard !text.windows.isEmpty else { return text }
    let written = Atomic<Int>(0)
    let total = Double((0..<count).reduce(0) { $0 + text.windows[$1 % text.windows.count].count })
    let own = try ThreadPool(threadCount: threadCount).map(count) { number in
      let example = text.windows[number % text.windows.count]
      let prompt = Array(example.prefix(min(Self.promptLength, example.count - 1)))
      let generator = TextGenerator(model: model, pool: ThreadPool(threadCount: 1, isPinned: false))
      let result = try generator.generate(
        prompt: prompt, count: example.count - prompt.count,
        sampling: SamplingOptions(temperature: 1, topK: 0, topP: 1, seed: UInt64(number) + 1),
        ignoresEnd: true
      ) { _ in
        let done = written.add(1, ordering: .relaxed).newValue
        if done % 64 == 0 { try progress(Double(done) / total) }
        return true
      }
      return prompt + result.tokens
    }
    return CalibrationWindows(windows: text.windows + own, firstNumber: text.firstNumber)
  }
}
