import ArgumentParser
import Calibration
import Kernels
import OrderedCollections
import Pipeline
import SafeIO

struct CalibrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calibrate",
    abstract: "Let a model read a corpus and keep statistics of every linear layer's inputs.",
    discussion: """
      The statistics are of the unquantized model: mean squares and maxima, and with --hessian the second moments that \
      GPTQ needs. 'adze quantize --statistics' uses them. Without a file, quantize calibrates as it goes, on the inputs \
      that the already quantized layers make, which is more accurate.

        adze calibrate MODEL --corpus FILE -o STATS --hessian
        adze calibrate MODEL --corpus FILE -o MODEL.imatrix.gguf
        adze calibrate --merge A --merge B -o C

      Several machines can share the work: each runs the same command with another --shard, 1/4 to 4/4, and merging what \
      they wrote gives the file of one run over all, to the bit.
      """)

  @Argument(help: "The model.") var model: String?
  @OptionGroup var corpus: CorpusArguments
  @Option(name: [.short, .long], help: "Statistics file to write.") var output: String
  @Option(
    help: ArgumentHelp(
      "Read one of several parts of the windows only, such as 2/4; parts are cut at multiples of 16 windows.",
      valueName: "k/n"))
  var shard: Shard?
  @Flag(help: "Keep second moments: in x in float32 values for each group of layers.") var hessian = false
  @Option(
    help:
      "statistics, imatrix (llama.cpp's, GGUF) or imatrix-dat (its older form); by the output's name unless given: .gguf, .dat."
  )
  var format: CalibrationFiles.Format?
  @Option(help: "Add up statistics files of the same model; give twice or more, without MODEL.") var merge:
    [String] = []
  @Option(help: "Write a JSON report with the tokens that each expert saw.") var report: String?
  @OptionGroup var execution: ExecutionArguments

  func validate() throws {
    if merge.isEmpty {
      guard model != nil else { throw ValidationError("Give a MODEL, or files to --merge.") }
      guard !corpus.corpus.isEmpty else { throw ValidationError("Give at least one --corpus.") }
      guard shard == nil || corpus.selfGenerated == 0 else {
        throw ValidationError(
          "--shard and --self-generated: machines of several kinds would write several texts.")
      }
    } else {
      guard model == nil, corpus.corpus.isEmpty, report == nil else {
        throw ValidationError("--merge takes no MODEL, no --corpus and no --report.")
      }
      guard merge.count >= 2 else { throw ValidationError("--merge needs two files or more.") }
    }
  }

  func run() throws {
    guard let model else { return try mergeFiles() }
    FreedMemory.keep()
    let source = try ModelFormats.load(model)
    for warning in source.warnings { Console.warn(warning) }
    let bar = ProgressBar("calibrate")
    let windows = try corpus.windows(for: source, execution)
    let part = shard.map { windows.part($0.number - 1, of: $0.count) } ?? windows
    guard !part.windows.isEmpty else {
      throw ValidationError(
        "\(windows.windows.count) windows have no part for this --shard; parts are cut at multiples of "
          + "\(WindowSegment.leafLength) windows.")
    }
    let statistics = try CalibrationStage(model: source, pool: execution.pool(), kernels: execution.kernels())
      .run(
        windows: part, of: windows.digest, withSecondMoments: hessian,
        minimumExpertTokens: corpus.minExpertTokens
      ) { try bar.update($0.fraction, $0.what, step: $0.step) }
    try CalibrationFiles.write(
      statistics, of: source, to: output, format: format ?? CalibrationFiles.Format(path: output))
    let experts = try statistics.expertCoverage(of: source.graph)
    if let report {
      let json: JSONValue = [
        "windows": JSONValue(statistics.windowCount),
        "self_generated": JSONValue(windows.selfGeneratedCount), "tokens": JSONValue(statistics.tokenCount),
        "experts": experts.json(minimum: corpus.minExpertTokens),
      ]
      try AtomicFile.write(Array((json.serialized(pretty: true) + "\n").utf8), to: report)
    }
    ExpertNotes.write(experts, minimum: corpus.minExpertTokens)
    bar.finish(
      "\(statistics.tokenCount) tokens, \(statistics.groupOfWeight.count) weights, written to \(output)")
  }

  private func mergeFiles() throws {
    let total = try CalibrationFiles.merge(merge, to: output, format: format)
    Console.note("merged \(merge.count) files: \(total), written to \(output)")
  }
}

extension CalibrationFiles.Format: ExpressibleByArgument {}

/// One of several parts, `k/n` with `k` from 1.
struct Shard: ExpressibleByArgument {
  let number: Int
  let count: Int

  init?(argument: String) {
    let fields = argument.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard fields.count == 2, let number = fields[0], let count = fields[1], count <= 65536,
      (1...max(count, 1)).contains(number)
    else { return nil }
    self.number = number
    self.count = count
  }
}
