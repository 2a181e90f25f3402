import ArgumentParser
import Evaluation
import Execution
import Pipeline
import SafeIO
import Tokenizers

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Continue a prompt.",
    discussion:
      "Text goes to standard output as it is made; speed to standard error. Equal seeds give equal texts.")

  @Argument(help: "The model.") var model: String
  @Option(name: [.short, .long], help: "The prompt.") var prompt: String?
  @Option(help: "Read the prompt from a file.") var file: String?
  @Option(name: .customShort("n"), help: ArgumentHelp("Most tokens to generate.", valueName: "count"))
  var count: Int = 128
  @Option(help: "0 always takes the likeliest token; larger is more varied.") var temperature: Float = 0.8
  @Option(help: "Choose among this many of the likeliest tokens; 0: all.") var topK: Int = 40
  @Option(help: "Choose among the likeliest tokens that make up this probability.") var topP: Float = 0.95
  @Option(help: "Seed of the choices.") var seed: UInt64 = 0
  @Flag(help: "Do not print the prompt.") var noEcho = false
  @Flag(help: "Go on after the model ends its text.") var ignoreEos = false
  @Flag(help: "Print one JSON object with tokens, text and times at the end.") var json = false
  @OptionGroup var inference: InferenceArguments

  func validate() throws {
    guard prompt == nil || file == nil else { throw ValidationError("Give --prompt or --file, not both.") }
    guard count >= 0 else { throw ValidationError("-n is not negative.") }
    guard temperature >= 0, temperature.isFinite else { throw ValidationError("--temperature is 0 or more.") }
    guard topK >= 0 else { throw ValidationError("--top-k is 0 or more.") }
    guard topP > 0, topP <= 1 else { throw ValidationError("--top-p is more than 0 and at most 1.") }
  }

  func run() throws {
    let start = ContinuousClock.now
    let model = try inference.load(model)
    let tokenizer = try model.requireTokenizer()
    let text =
      try file.map { try FileReading.readAll($0, limit: Limits.standard.maxDocumentBytes) }
      ?? Array((prompt ?? "").utf8)
    let ids = try tokenizer.encode(text, addSpecialTokens: true, parseSpecialTokens: true)
    let loadTime = ContinuousClock.now - start
    if !noEcho, !json { try Console.write(String(decoding: text, as: UTF8.self)) }
    var decoder = StreamingDecoder(tokenizer)
    var generated = ""
    let result = try TextGenerator(model: model, pool: inference.execution.pool()).generate(
      prompt: ids, count: count,
      sampling: SamplingOptions(temperature: temperature, topK: topK, topP: topP, seed: seed),
      ignoresEnd: ignoreEos
    ) { token in
      try Interruption.check()
      let piece = decoder.append(token)
      generated += piece
      if !json { try Console.write(piece) }
      return true
    }
    let rest = decoder.finish()
    generated += rest
    if json { return try printJSON(result, generated, loadTime) }
    try Console.write(rest + "\n")
    var summary = "loaded in \(ProgressBar.time(loadTime)), first token after "
    summary += ProgressBar.time(loadTime + result.timeToFirstToken) + ", \(result.tokens.count) tokens"
    if result.tokens.count > 1 { summary += ", \(NumberFormat.rate(rate(result))) tokens per second" }
    if inference.policy.name != "full" {
      summary +=
        "; cache \(NumberFormat.bytes(result.cacheByteCount)), \(result.evictedCount) tokens forgotten by \(inference.policy.name)"
      if model.program.windowedLayerCount > 0 {
        summary += ", \(model.program.windowedLayerCount) layers with windows of their own left alone"
      }
    }
    Console.note(summary)
  }

  /// Tokens after the first, a second.
  private func rate(_ result: TextGenerator.Result) -> Double {
    Double(max(result.tokens.count - 1, 0)) / max(result.decodeTime / .seconds(1), 1e-9)
  }

  private func printJSON(_ result: TextGenerator.Result, _ text: String, _ loadTime: Duration) throws {
    try Console.print(
      JSONValue.object([
        "prompt_tokens": .array(result.promptTokens.map { JSONValue(Int($0)) }),
        "tokens": .array(result.tokens.map { JSONValue(Int($0)) }),
        "text": .string(text),
        "ended_by_model": .bool(result.endedByModel),
        "load_ms": .number(loadTime / .milliseconds(1)),
        "ttft_ms": .number((loadTime + result.timeToFirstToken) / .milliseconds(1)),
        "decode_ts": .number(rate(result)),
        "cache_bytes": JSONValue(result.cacheByteCount),
        "cache_evicted": JSONValue(result.evictedCount),
      ]))
  }
}
