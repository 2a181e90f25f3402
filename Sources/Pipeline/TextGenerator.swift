import Architectures
import Execution
import Kernels
import Tokenizers

/// Continues a prompt token by token.
public struct TextGenerator {
  /// How it went.
  public struct Result: Sendable {
    /// Tokens of the prompt, special ones included.
    public var promptTokens: [Int32]
    /// Tokens that were generated, an end-of-sequence token excluded.
    public var tokens: [Int32] = []
    /// From the call until the first token was chosen.
    public var timeToFirstToken: Duration = .zero
    /// From the first token to the last.
    public var decodeTime: Duration = .zero
    /// Bytes of cached keys and values at the end.
    public var cacheByteCount = 0
    /// Most tokens that a layer's cache has forgotten, where a policy says that some are.
    public var evictedCount = 0
    /// Whether the model ended the text itself.
    public var endedByModel = false
  }

  let model: LanguageModel
  let pool: ThreadPool

  /// Prepares a generator.
  public init(model: LanguageModel, pool: ThreadPool) {
    self.model = model
    self.pool = pool
  }

  /// Generates at most `count` tokens after `prompt`.
  ///
  /// - Parameters:
  ///   - prompt: token ids; may be empty when the model has a begin-of-sequence token.
  ///   - ignoresEnd: whether to go on after an end-of-sequence token.
  ///   - emit: gets each token as it is chosen; false stops.
  /// - Throws: `ExecutionError`, ``PipelineError``, or what `emit` throws.
  public func generate(
    prompt: [Int32], count: Int, sampling: SamplingOptions, ignoresEnd: Bool = false,
    emit: (Int32) throws -> Bool
  ) throws -> Result {
    var prompt = prompt
    if prompt.isEmpty, let begin = model.source.beginOfSequence { prompt = [begin] }
    guard !prompt.isEmpty else {
      throw PipelineError.usage("the prompt is empty and the model has no begin-of-sequence token", hint: nil)
    }
    var result = Result(promptTokens: prompt)
    guard count > 0 else { return result }
    let clock = ContinuousClock()
    let start = clock.now
    let session = Session(program: model.program, pool: pool)
    var sampler = Sampler(sampling)
    var pending = prompt
    var firstTokenTime = start
    let ends = model.source.summary.sizes.eosTokens
    while result.tokens.count < count {
      let token = try unsafe session.forward(pending) { logits in
        sampler.sample(unsafe Span(_unsafeElements: logits))
      }
      if result.tokens.isEmpty {
        firstTokenTime = clock.now
        result.timeToFirstToken = firstTokenTime - start
      }
      if ends.contains(token), !ignoresEnd {
        result.endedByModel = true
        break
      }
      result.tokens.append(token)
      guard try emit(token) else { break }
      pending = [token]
    }
    result.decodeTime = clock.now - firstTokenTime
    result.cacheByteCount = session.cacheByteCount
    result.evictedCount = session.evictedCount
    return result
  }
}
