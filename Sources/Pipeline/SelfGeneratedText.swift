import Architectures
import Calibration
import Codecs
import Execution
import Kernels
import Synchronization

/// Windows that a model writes itself, to be calibrated on beside those of a text: more of what it will be asked for, at no other
/// source (LLM-QAT, Liu et al. 2023, arXiv 2305.17888; self-calibration, Williams et al. 2024, arXiv 2410.17170).
public struct SelfGeneratedText {
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
  /// model predicts, at temperature 1. Where it ends a text, the next beginning follows: texts stand beside each other as in a corpus,
  /// without tokens that say so. The same windows for any number of threads; kernels of other instruction sets round otherwise, and
  /// lead to others.
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
    let steps = Atomic<Int>(0)
    let total = Double((0..<count).reduce(0) { $0 + text.windows[$1 % text.windows.count].count })
    let own = try ThreadPool(threadCount: threadCount).map(count) { number in
      try window(number, like: text.windows) {
        let done = steps.add(1, ordering: .relaxed).newValue
        if done % 64 == 0 { try progress(min(Double(done) / total, 1)) }
      }
    }
    return CalibrationWindows(
      windows: text.windows + own, firstNumber: text.firstNumber, selfGeneratedCount: count)
  }

  /// - Parameter step: called for each token that is drawn.
  private func window(
    _ number: Int, like examples: [[Int32]], step: () throws -> Void
  ) throws -> [Int32] {
    let ends = model.source.summary.sizes.eosTokens
    let session = Session(program: model.program, pool: ThreadPool(threadCount: 1, isPinned: false))
    var sampler = Sampler(SamplingOptions(temperature: 1, topK: 0, topP: 1, seed: UInt64(number) + 1))
    let length = examples[number % examples.count].count
    var text = number
    var pending = Array(examples[text % examples.count].prefix(min(Self.promptLength, length - 1)))
    var window = pending
    while window.count < length {
      let token = try unsafe session.forward(pending) { logits in
        sampler.sample(unsafe Span(_unsafeElements: logits))
      }
      pending = [token]
      if ends.contains(token) {
        text += 1
        // The first token may be one that begins a sequence.
        let beginning = examples[text % examples.count].dropFirst().prefix(Self.promptLength - 1)
        if !beginning.isEmpty { pending = Array(beginning.prefix(length - window.count)) }
      }
      window += pending
      try step()
    }
    return window
  }
}
