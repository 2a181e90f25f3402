import ArgumentParser
import Codecs
import Execution
import Kernels
import OrderedCollections
import Pipeline
import SafeIO
import Safetensors
import TensorCore

struct LogitsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logits", abstract: "Write a model's logits for given token ids.",
    discussion: """
      Reads `input_ids` (integers, [B, T]) from a safetensors file and writes `logits` float32 [B, T, vocabulary]; each \
      row is a sequence of its own. Computes in float32 with a float32 cache unless the model or an option says otherwise.
      """)

  @Argument(help: "The model.") var model: String
  @Option(help: "Safetensors file with input_ids.") var input: String
  @Option(name: [.short, .long], help: "Safetensors file to write.") var output: String
  @Option(help: "Tokens that go through the model at a time; 1 goes token by token through the cache.")
  var chunk: Int = 512
  @Option(
    help:
      "What inputs of quantized layers are rounded to: auto (what the model says, else float32) or a scheme.")
  var activations: ActivationChoice = .auto
  @Flag(help: "Multiply rounded activations as floats.") var simulateActivations = false
  @OptionGroup(title: "Cache") var cache: CacheArguments
  @OptionGroup(title: "Cache") var policy: CachePolicyArguments
  @OptionGroup var execution: ExecutionArguments

  func validate() throws {
    guard (1...65536).contains(chunk) else { throw ValidationError("--chunk is 1 to 65536.") }
  }

  func run() throws {
    let source = try ModelFormats.load(model)
    for warning in source.warnings { Console.warn(warning) }
    var options = ExecutionOptions(
      activations: activations.scheme, cache: cache.format, chunkLength: chunk,
      kernels: try execution.kernels())
    options.unstatedActivations = .float32
    options.unstatedCache = .f32
    options.simulatesActivations = simulateActivations
    options.cachePolicy = try policy.policy(for: source)
    let model = try LanguageModel(source, options: options)
    let bar = ProgressBar("logits")
    let logits = try LogitsStage(model: model, pool: execution.pool()).run(inputFile: input) {
      try bar.update($0)
    }
    try SafetensorsWriter.write(["logits": logits], to: output)
    bar.finish("\(logits.shape) written to \(output)")
  }
}
