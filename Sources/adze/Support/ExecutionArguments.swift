import ArgumentParser
import Codecs
import Execution
import Kernels
import Pipeline

/// Options of every command that computes.
struct ExecutionArguments: ParsableArguments {
  @Option(name: [.short, .long], help: "Number of threads; 0: one for each processor.")
  var threads: Int = 0

  @Option(help: "Instruction set of the kernels: auto, avx512, avx2 or portable.")
  var isa: String = "auto"

  func validate() throws {
    guard (0...256).contains(threads) else { throw ValidationError("--threads is 0 to 256.") }
  }

  /// The kernels that `--isa` names.
  func kernels() throws -> KernelTable {
    guard isa != "auto" else { return .best }
    guard let instructionSet = InstructionSet(rawValue: isa) else {
      throw ValidationError("--isa \(isa): no such instruction set; auto, avx512, avx2 or portable.")
    }
    guard let table = KernelTable.table(for: instructionSet) else {
      throw ValidationError("--isa \(isa): this processor does not have it.")
    }
    return table
  }

  /// The threads.
  func pool() -> ThreadPool { ThreadPool(threadCount: threadCount) }

  /// How many they are.
  var threadCount: Int { threads > 0 ? threads : ThreadPool.processorCount }
}

/// Options of commands that run a whole model.
struct InferenceArguments: ParsableArguments {
  @OptionGroup var execution: ExecutionArguments

  @Option(
    help: """
      What inputs of quantized layers are rounded to: auto (what the model says, else int8-block), int8-block (8 bits per \
      token and block, fast), int8-token (per token, as W8A8), int8-outliers (per token, numbers of 6 and more as floats, \
      as LLM.int8()), fp8-token, fp8-group (E4M3 per token or 128 columns), or float32 (exactly what the stored weights \
      mean).
      """)
  var activations: ActivationChoice = .auto

  @Flag(
    help: "Multiply rounded activations as floats: the plain way that integer arithmetic is compared with.")
  var simulateActivations = false

  @OptionGroup(title: "Cache") var cache: CacheArguments

  @OptionGroup(title: "Cache") var policy: CachePolicyArguments

  @Option(help: "Tokens that go through the model at a time.")
  var chunk: Int = 512

  func validate() throws {
    guard (1...65536).contains(chunk) else { throw ValidationError("--chunk is 1 to 65536.") }
  }

  /// - Parameter isBase: whether the model is what others are compared with: what the cache costs is theirs.
  func options(for model: LoadedModel, isBase: Bool = false) throws -> ExecutionOptions {
    var options = ExecutionOptions(
      activations: activations.scheme, cache: isBase ? .f16 : cache.format, chunkLength: chunk,
      kernels: try execution.kernels())
    options.simulatesActivations = simulateActivations
    if !isBase { options.cachePolicy = try policy.policy(for: model) }
    return options
  }

  /// Reads a model and makes it ready, with its warnings on standard error.
  /// - Parameter isBase: as in ``options(for:isBase:)``.
  func load(_ path: String, isBase: Bool = false) throws -> LanguageModel {
    let source = try ModelFormats.load(path)
    for warning in source.warnings { Console.warn(warning) }
    return try LanguageModel(source, options: options(for: source, isBase: isBase))
  }
}

/// What `--activations` says.
struct ActivationChoice: ExpressibleByArgument, CustomStringConvertible {
  /// Nil: what the model says.
  let scheme: ActivationScheme?

  static let auto = ActivationChoice(scheme: nil)

  init(scheme: ActivationScheme?) { self.scheme = scheme }

  init?(argument: String) {
    guard argument != "auto" else {
      self = .auto
      return
    }
    guard let scheme = ActivationScheme(name: argument) else { return nil }
    self.init(scheme: scheme)
  }

  static var allValueStrings: [String] { ["auto"] + ActivationScheme.names }

  var description: String { scheme?.description ?? "auto" }
  var defaultValueDescription: String { description }
}
